"""A session that lost its context gets its own task again; every other session is refused, and never sees the text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.installation import ROOM, CommandOutput, Installation
from tests.process.processes import StartedProcess

pytestmark = pytest.mark.process

SECRET_TEXT = "paint the hidden door"
WAIT = ("wait-for-task", ROOM, "--role", "builder")
AGENT_CLI = """#!/bin/sh
# Runs each command in a shell of its own, as an agent CLI does.
number=0
for command in "$@"; do
    number=$((number + 1))
    sh -c "$command" > "$ANSWERS.$number.out" 2> "$ANSWERS.$number.err"
    echo $? > "$ANSWERS.$number.code"
done
"""


class Session(NamedTuple):
    """One agent session: a process of an agent CLI, and what its commands printed."""

    process: StartedProcess
    answers: list[CommandOutput]


def run_session(installation: Installation, name: str, commands: int, cli: str = "claude", **more: str) -> Session:
    """Start an agent CLI that calls `wait-for-task` so often, each time without knowing of the call before."""
    program = installation.home / cli
    program.write_text(AGENT_CLI)
    program.chmod(0o755)
    answers = installation.home / name
    call = " ".join((sys.executable, "-m", "greenroom", *WAIT))
    environment = installation.environment() | {"ANSWERS": str(answers)} | more
    process = StartedProcess(
        name, [str(program), *[call] * commands], environment, installation.home, installation.root / "logs"
    )
    assert 0 == process.wait()
    return Session(process, [read_answer(answers, number + 1) for number in range(commands)])


def read_answer(answers: Path, number: int) -> CommandOutput:
    code, out, err = (Path(f"{answers}.{number}.{kind}").read_text() for kind in ("code", "out", "err"))
    return CommandOutput(int(code), out, err)


def assert_refused(installation: Installation, answer: CommandOutput) -> None:
    participant = installation.participant()
    assert participant is not None
    assert 4 == answer.code, answer
    assert SECRET_TEXT not in answer.out + answer.err
    assert participant["connection_id"] in answer.err
    assert participant["joined_at"] in answer.err
    assert "--take-over" in answer.err
    assert "call again" not in answer.out + answer.err


@pytest.mark.parametrize("cli", ["claude", "gemini"])
def test_session_gets_its_own_task_again(installation: Installation, cli: str) -> None:
    task = installation.send(SECRET_TEXT)
    session = run_session(installation, "first", 3, cli)
    assert [0, 0, 0] == [answer.code for answer in session.answers]
    printed = {answer.out for answer in session.answers}
    assert 1 == len(printed), "the same attempt, with the same commands"
    assert SECRET_TEXT in printed.pop()
    assert f"holds {task} (attempt 1) already" in session.answers[1].err
    assert (1, "acknowledged") == (installation.task(task)["attempt"], installation.task(task)["status"])
    assert 1 == installation.api.count("participant.joined")


def test_other_session_never_sees_the_task(installation: Installation) -> None:
    task = installation.send(SECRET_TEXT)
    holder = run_session(installation, "first", 1)
    assert SECRET_TEXT in holder.answers[0].out
    for name, cli in (("second", "claude"), ("third", "codex")):
        assert_refused(installation, run_session(installation, name, 1, cli).answers[0])
    assert_refused(installation, installation.run(*WAIT, expect=4))
    assert 1 == installation.task(task)["attempt"]


def test_session_id_decides(installation: Installation) -> None:
    """A resumed session has another process; two sessions may have one process."""
    task = installation.send(SECRET_TEXT)
    first, second = {"CLAUDE_CODE_SESSION_ID": "one"}, {"CLAUDE_CODE_SESSION_ID": "two"}
    assert SECRET_TEXT in run_session(installation, "first", 1, **first).answers[0].out
    assert_refused(installation, run_session(installation, "second", 1, **second).answers[0])
    resumed = run_session(installation, "resumed", 1, **first)
    assert (0, True) == (resumed.answers[0].code, SECRET_TEXT in resumed.answers[0].out)
    # A session whose CLI is in another PID namespace, for one, is known by its id alone.
    bare = installation.start(*WAIT, CODEX_THREAD_ID="three")
    assert 4 == bare.wait()
    assert SECRET_TEXT not in bare.out + bare.err
    assert 1 == installation.task(task)["attempt"]


def test_inherited_session_id_is_not_the_inner_sessions(installation: Installation) -> None:
    installation.send(SECRET_TEXT)
    outer = {"CLAUDE_CODE_SESSION_ID": "one"}
    assert SECRET_TEXT in run_session(installation, "outer", 1, **outer).answers[0].out
    assert_refused(installation, run_session(installation, "inner", 1, "gemini", **outer).answers[0])


def test_started_task_is_given_again_and_keeps_its_state(installation: Installation) -> None:
    task = installation.send(SECRET_TEXT)
    session_id = {"CODEX_THREAD_ID": "one"}
    assert 0 == run_session(installation, "first", 1, "codex", **session_id).answers[0].code
    installation.run("task-started", "--task", task, "--attempt", "1")
    again = run_session(installation, "resumed", 1, "codex", **session_id).answers[0]
    assert (0, True) == (again.code, SECRET_TEXT in again.out)
    assert "in_progress" == installation.task(task)["status"]
    installation.run("task-complete", "--task", task, "--attempt", "1", "done")
    assert "completed" == installation.task(task)["status"]


def test_session_whose_task_is_over_waits_for_the_next(installation: Installation) -> None:
    first = installation.send("paint the door")
    session_id = {"CODEX_THREAD_ID": "one"}
    assert 0 == run_session(installation, "first", 1, "codex", **session_id).answers[0].code
    installation.run("task", "cancel", first)
    second = installation.send(SECRET_TEXT)
    again = run_session(installation, "resumed", 1, "codex", **session_id).answers[0]
    assert (0, True) == (again.code, SECRET_TEXT in again.out)
    assert installation.task(first)["last_holder"] == installation.task(second)["claimed_by"]
