"""Identifies the agent session that a command runs in, so that a session that lost its context gets its task again.

A session is known by the id that its CLI puts into the environment of its commands, and by its process: the nearest
ancestor that is an agent CLI. A shell is none: each command may run in a shell of its own.

Limits: a CLI that is not in the list is not recognised, and its sessions are never taken for the same one. Everything
that a session starts counts as that session, except an agent CLI. A CLI that serves several sessions in one process is
known by session ids alone, so OpenCode's `serve` is not known at all.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from greenroom.process.identity import ProcessIdentity, identity_of, is_alive

if sys.platform != "linux":
    import psutil


class SessionCli(NamedTuple):
    """An agent CLI: its program, the package of its script, and the variable in which its commands get a session id."""

    program: str
    package: str
    variable: str | None = None


SESSION_CLIS: Final = (
    SessionCli("claude", "@anthropic-ai/claude-code", "CLAUDE_CODE_SESSION_ID"),
    SessionCli("codex", "@openai/codex", "CODEX_THREAD_ID"),
    SessionCli("opencode", "opencode-ai"),
    SessionCli("qwen", "@qwen-code/qwen-code", "QWEN_CODE_SESSION_ID"),
    SessionCli("gemini", "@google/gemini-cli", "GEMINI_SESSION_ID"),
)

SCRIPT_RUNTIMES: Final = ("node", "nodejs", "bun", "deno")
SHELLS: Final = ("sh", "bash", "dash", "zsh")
SCRIPT_SUFFIXES: Final = (".js", ".mjs", ".cjs")
MULTIPLE_SESSION_WORDS: Final = frozenset(
    ("serve", "web", "acp", "--acp", "--experimental-acp", "app-server", "mcp-server")
)
"""Arguments of a CLI that serves several sessions in one process."""

ANCESTORS_MAX: Final = 64


class AgentSession(msgspec.Struct, frozen=True, kw_only=True):
    """An agent session: its id, as CLI:ID, and the process of its CLI. At least one of them is known."""

    id: str | None = None
    process: ProcessIdentity | None = None


class Ancestor(NamedTuple):
    """A process above this one: its number, its parent's, and its command line."""

    pid: int
    parent: int
    words: tuple[str, ...]


def find_session(environ: Mapping[str, str]) -> AgentSession | None:
    """Return the agent session that this process runs in; None if it runs in none, or in one that is not known."""
    return identify_session(environ, list_ancestors(os.getppid()))


def identify_session(environ: Mapping[str, str], ancestors: Sequence[Ancestor]) -> AgentSession | None:
    """Return the session of a process with these variables and ancestors, the nearest first.

    The id of an outer session is inherited, and is not that of a CLI which has no id or another variable.
    """
    for ancestor in ancestors:
        cli = identify_cli(ancestor.words)
        if cli is not None:
            serves_several = not MULTIPLE_SESSION_WORDS.isdisjoint(ancestor.words[1:])
            return make_session((cli,), environ, None if serves_several else identity_of(ancestor.pid))
    return make_session(SESSION_CLIS, environ, None)


def make_session(
    clis: Sequence[SessionCli], environ: Mapping[str, str], process: ProcessIdentity | None
) -> AgentSession | None:
    ids = [f"{cli.program}:{environ[cli.variable]}" for cli in clis if cli.variable and environ.get(cli.variable)]
    return AgentSession(id=" ".join(ids) or None, process=process) if ids or process is not None else None


def is_same_session(
    known: AgentSession | None,
    own: AgentSession | None,
    is_running: Callable[[ProcessIdentity], bool] = is_alive,
) -> bool:
    """Return whether both are provably one session. A resumed session has the id, but not the process, of the first.

    Two processes that run under one id are two sessions.
    """
    if known is None or own is None:
        return False
    if known.id is not None and own.id is not None:
        if known.id != own.id:
            return False
        has_moved = None not in (known.process, own.process) and known.process != own.process
        return not has_moved or known.process is None or not is_running(known.process)
    return known.process is not None and known.process == own.process


def identify_cli(words: Sequence[str]) -> SessionCli | None:
    """Return the agent CLI that a command line runs, itself or by the runtime of its script; None if it runs none."""
    script = find_script(words)
    for cli in SESSION_CLIS:
        if words and Path(words[0]).name == cli.program:
            return cli
        if script is not None and (strip_suffix(Path(script).name) == cli.program or f"/{cli.package}/" in script):
            return cli
    return None


def find_script(words: Sequence[str]) -> str | None:
    """Return the script that a runtime or shell runs; None for any other command line."""
    runtime = Path(words[0]).name.lstrip("-") if words else ""
    if runtime in SCRIPT_RUNTIMES:
        return next((word for word in words[1:] if not word.startswith("-")), None)
    return words[1] if runtime in SHELLS and len(words) > 1 and not words[1].startswith("-") else None


def strip_suffix(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in SCRIPT_SUFFIXES if name.endswith(suffix)), name)


def list_ancestors(pid: int) -> list[Ancestor]:
    """Return that process and those above it, as far as they can be read."""
    found: list[Ancestor] = []
    while pid > 0 and len(found) < ANCESTORS_MAX and (ancestor := read_ancestor(pid)) is not None:
        found.append(ancestor)
        pid = ancestor.parent
    return found


if sys.platform == "linux":

    def read_ancestor(pid: int) -> Ancestor | None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except OSError:
            return None
        return Ancestor(pid, int(fields[1]), tuple(word.decode(errors="replace") for word in words))

else:

    def read_ancestor(pid: int) -> Ancestor | None:
        try:
            process = psutil.Process(pid)
            return Ancestor(pid, process.ppid(), tuple(process.cmdline()))
        except psutil.Error:
            return None
