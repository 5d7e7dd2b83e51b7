"""Which agent session a command runs in, and which two of them are the same one."""

import os
from collections.abc import Sequence

import pytest

from greenroom.process.agent_session import (
    AgentSession,
    Ancestor,
    find_session,
    identify_cli,
    identify_session,
    is_same_session,
    list_ancestors,
)
from greenroom.process.identity import ProcessIdentity, identity_of

OWN = os.getpid()
CLAUDE = {"CLAUDE_CODE_SESSION_ID": "one"}
CODEX = {"CODEX_THREAD_ID": "two"}


@pytest.mark.parametrize(
    ("words", "program"),
    [
        (["claude", "-p"], "claude"),
        (["/usr/local/bin/codex", "exec", "-"], "codex"),
        (["node", "/usr/bin/qwen", "--approval-mode", "yolo"], "qwen"),
        (["/usr/bin/node", "--max-old-space-size=4096", "/usr/bin/gemini"], "gemini"),
        (["node", "/lib/node_modules/@google/gemini-cli/bundle/main.js"], "gemini"),
        (["node", "/lib/node_modules/@openai/codex/bin/codex.js"], "codex"),
        (["bun", "opencode.mjs", "run"], "opencode"),
        (["/bin/sh", "/opt/bin/claude", "-p"], "claude"),
        (["bash", "-c", "claude"], None),
        (["-bash"], None),
        (["vim", "claude"], None),
        (["tmux", "new", "-s", "codex"], None),
        (["node", "server.js", "claude"], None),
        (["node"], None),
        (["claude-monitor"], None),
        ([""], None),
        ([], None),
    ],
)
def test_agent_cli_of_command_line(words: Sequence[str], program: str | None) -> None:
    cli = identify_cli(words)
    assert program == (cli.program if cli else None)


def identify(environ: dict[str, str], *lines: str) -> AgentSession | None:
    """The session of a process whose ancestors have these command lines, the nearest first; all are this process."""
    return identify_session(environ, [Ancestor(OWN, 1, tuple(line.split())) for line in lines])


def test_session_is_nearest_agent_cli() -> None:
    process = identity_of(OWN)
    assert AgentSession(id="claude:one", process=process) == identify(CLAUDE, "bash -c wait", "claude -p", "codex")
    assert AgentSession(id="codex:two", process=process) == identify(CLAUDE | CODEX, "codex exec", "bash", "claude")
    assert AgentSession(process=process) == identify(CLAUDE, "node /usr/bin/gemini", "claude"), "the id is inherited"
    assert identify({}, "bash", "sshd", "init") is None, "a shell is no session"


def test_session_without_visible_cli_is_known_by_its_id() -> None:
    assert AgentSession(id="claude:one") == identify(CLAUDE, "bash", "bwrap")
    assert AgentSession(id="claude:one codex:two") == identify(CLAUDE | CODEX)
    assert identify({"CLAUDE_CODE_SESSION_ID": ""}, "bash") is None


def test_process_that_serves_several_sessions_is_none() -> None:
    assert identify({}, "opencode serve") is None
    assert AgentSession(id="codex:two") == identify(CODEX, "codex app-server")


def test_ancestors_of_this_process() -> None:
    first, second, *_ = list_ancestors(OWN)
    assert (OWN, os.getppid()) == (first.pid, first.parent)
    assert os.getppid() == second.pid
    assert any("python" in word or "pytest" in word for word in first.words)
    assert [] == list_ancestors(0)
    assert find_session({"CODEX_THREAD_ID": "two"} | CLAUDE) is not None


ONE, TWO = ProcessIdentity(10, "boot:1"), ProcessIdentity(10, "boot:2")


@pytest.mark.parametrize(
    ("known", "own", "is_same"),
    [
        (AgentSession(process=ONE), AgentSession(process=ONE), True),
        (AgentSession(process=ONE), AgentSession(process=TWO), False),
        (AgentSession(id="a", process=ONE), AgentSession(id="a", process=ONE), True),
        (AgentSession(id="a", process=ONE), AgentSession(id="b", process=ONE), False),
        (AgentSession(id="a", process=ONE), AgentSession(process=ONE), True),
        (AgentSession(id="a"), AgentSession(id="a"), True),
        (AgentSession(id="a"), AgentSession(id="b"), False),
        (AgentSession(id="a"), AgentSession(process=ONE), False),
        (AgentSession(id="a"), None, False),
        (None, AgentSession(process=ONE), False),
        (None, None, False),
    ],
)
def test_same_session(known: AgentSession | None, own: AgentSession | None, is_same: bool) -> None:
    assert is_same is is_same_session(known, own, lambda process: True)


def test_resumed_session_is_same_once_its_first_process_ended() -> None:
    first, resumed = AgentSession(id="a", process=ONE), AgentSession(id="a", process=TWO)
    assert is_same_session(first, resumed, lambda process: False)
    assert not is_same_session(first, resumed, lambda process: True), "two processes run under one id"
