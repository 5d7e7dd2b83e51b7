"""Every verb and every long-running program in unusual surroundings: no traceback, no hang, and no lost task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from greenroom.exit_codes import ExitCode
from tests.process.installation import ROOM, Installation
from tests.process.processes import find_processes
from tests.process.surroundings import Surrounding, list_surroundings, shell_command
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.process, pytest.mark.prove]

PROGRAM = str(Path(sys.executable).with_name("greenroom"))
EXIT_CODES = frozenset({*ExitCode, 128 + signal.SIGPIPE, -signal.SIGPIPE})
FOLDER = Path(tempfile.mkdtemp(prefix="greenroom-surroundings-"))
SURROUNDINGS = list_surroundings(FOLDER)
STRANGE_TEXT = "naïve 日本 \U0001f600 \x1b[31m‮"


def environment(installation: Installation, surrounding: Surrounding) -> dict[str, str]:
    variables = installation.environment() | {
        name: value for name, value in surrounding.variables.items() if value is not None
    }
    return {name: value for name, value in variables.items() if surrounding.variables.get(name, "") is not None}


def run(installation: Installation, surrounding: Surrounding, *arguments: str) -> tuple[int, str, str]:
    """Run a verb to its end; return its exit code and what is left of its streams. Fails after a traceback."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        done = subprocess.run(
            shell_command(surrounding, [PROGRAM, *arguments]),
            env=environment(installation, surrounding),
            cwd=installation.home,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=PATIENCE_S,
        )
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    assert_calm(surrounding, arguments, done.returncode, "\n".join(texts))
    return done.returncode, texts[0], texts[1]


def assert_calm(surrounding: Surrounding, arguments: tuple[str, ...], code: int, text: str) -> None:
    where = f"{' '.join(arguments)} in: {surrounding.name}: {code}: {text}"
    assert "Traceback" not in text, where
    assert "Exception ignored" not in text, where
    assert "a module of the project was imported" not in text, where
    assert code in EXIT_CODES, where


def verbs(installation: Installation, task: str) -> list[tuple[str, ...]]:
    """One call of each verb that ends by itself; those that need more give an error, which is as good here."""
    role = f"{ROOM}/builder"
    return [
        *[("--version",), ("--help",), ("status",), ("status", "--json"), ("why", role), ("doctor",), ("config",)],
        *[("room", "list"), ("room", "show", ROOM), ("room", "change", ROOM, "--max-requests", "5")],
        *[("room", "create", "other", "--roles", "a,b"), ("room", "close", "other"), ("room", "delete", "other")],
        *[("messages", ROOM), ("task", "list", ROOM), ("task", "show", task), ("note", task, STRANGE_TEXT)],
        *[("task", "cancel", task), ("task", "retry", task), ("task", "reset", task), ("task", "accept", task)],
        *[("backlog", "add", ROOM, STRANGE_TEXT), ("backlog", "list", ROOM), ("backlog", "queue", task)],
        *[("agent", "set", role, "--kind", "custom"), ("agent", "stop", role), ("agent", "start", role)],
        *[("agent", "token", role), ("machine", "list"), ("machine", "token", "m1"), ("daemon", "status")],
        *[("daemon", "stop"), ("completion", "bash"), ("login", "--forget"), ("watch", "nowhere")],
        *[("task-started",), ("report-progress", "half"), ("task-complete", "done"), ("decline", "no")],
        *[("handoff", "--to", "user", "done"), ("no-such-verb",), ("send", ROOM), ("why", "nowhere/nobody")],
        ("wait-for-task", ROOM, "--role", "nobody", "--timeout", "0"),
    ]


@pytest.mark.parametrize("surrounding", SURROUNDINGS, ids=lambda surrounding: surrounding.name)
def test_verbs(installation: Installation, surrounding: Surrounding) -> None:
    task = installation.send(STRANGE_TEXT)
    for arguments in verbs(installation, task):
        run(installation, surrounding, *arguments)
    assert installation.server is not None
    assert "Traceback" not in installation.server.err


@pytest.mark.parametrize("surrounding", SURROUNDINGS, ids=lambda surrounding: surrounding.name)
def test_task_is_shown_or_given_back(installation: Installation, surrounding: Surrounding) -> None:
    task = installation.send(STRANGE_TEXT)
    code, out, _ = run(installation, surrounding, "wait-for-task", ROOM, "--role", "builder", "--timeout", "30")
    if code == ExitCode.DONE:
        assert task in out, out
        code, _, _ = run(
            installation, surrounding, "task-complete", "--task", task, "--attempt", "1", f"done {STRANGE_TEXT}"
        )
        if code == ExitCode.DONE:
            assert installation.task(task)["status"] == "completed"
    else:
        assert installation.task(task)["status"] == "pending"


class Program:
    """A long-running program in its surroundings."""

    def __init__(self, installation: Installation, surrounding: Surrounding, *arguments: str) -> None:
        self._installation, self._surrounding, self._arguments = installation, surrounding, arguments
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed with this object
        self._process = subprocess.Popen(
            shell_command(surrounding, [PROGRAM, *arguments]),
            env=environment(installation, surrounding),
            cwd=installation.home,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        return Path(self._output.name).read_text("utf-8", "replace")

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> int:
        """Send SIGTERM unless it has ended; return the exit code of the shell around it."""
        words = f"{PROGRAM} {self._arguments[0]} "

        def signal_and_look() -> bool:
            for pid, command in find_processes(str(self._installation.root)).items():
                if words in command and "bash" not in command:
                    os.kill(pid, signal.SIGTERM)
            return self.has_ended()

        if not self.has_ended():
            signal_and_look()
        code = self._process.wait(PATIENCE_S)
        assert_calm(self._surrounding, self._arguments, code, self.text)
        return code


@pytest.mark.parametrize("surrounding", SURROUNDINGS, ids=lambda surrounding: surrounding.name)
def test_work_runs_its_command(installation: Installation, surrounding: Surrounding) -> None:
    """`work` completes the task, or ends without having taken it, or gives it back."""
    task = installation.send("paint")
    work = Program(installation, surrounding, "work", ROOM, "--role", "builder", "--then", "user", "--", "/bin/cat")

    def is_over() -> bool:
        return work.has_ended() or installation.task(task)["status"] == "completed"

    wait_until(is_over, "the task is done, or `work` has ended")
    code, status = work.stop(), installation.task(task)["status"]
    assert status == "completed" or (status == "pending" and code != 0), (code, status, work.text)


@pytest.mark.parametrize("surrounding", SURROUNDINGS, ids=lambda surrounding: surrounding.name)
def test_up_does_a_task_and_stops(bare: Installation, surrounding: Surrounding) -> None:
    """With its streams closed, full or gone it does its work all the same; where it cannot start, it says why."""
    config = bare.home / "greenroom.toml"
    config.write_text(f'[room]\nname = "{ROOM}"\nroles = ["builder"]\n\n[agents.builder]\ncommand = ["/bin/cat"]\n')
    up = Program(
        bare, surrounding, "up", "--config", str(config), "--listen", "127.0.0.1:0", "--data-dir", str(bare.data_dir)
    )
    address = bare.data_dir / "server.url"

    def is_up() -> bool:
        if not bare.port and address.exists():
            bare.port = int(address.read_text().rpartition(":")[2])
        return up.has_ended() or (bare.port != 0 and bare.api.call("GET", f"rooms/{ROOM}").status == 200)

    wait_until(is_up, "the project is applied, or `up` has ended")
    if up.has_ended():
        assert up.stop() != 0, up.text
        return
    bare.wait_for_task(bare.send("paint"), "completed")
    assert up.stop() == 0, up.text
