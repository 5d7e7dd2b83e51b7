"""Output that is not read, closed or on a full disk stops no work, and no data is lost in it."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from greenroom.file_lock import ENDING
from tests.process.agent_journal import AgentJournal
from tests.process.installation import PROGRAM, ROOM, Installation
from tests.process.processes import StartedProcess, find_processes
from tests.waiting import PATIENCE_S, NotYet, wait_until

pytestmark = pytest.mark.process

LONG_TEXT = "paint " * 40_000
"""More than a pipe holds."""


class Output:
    """A descriptor for the output of a process: a pipe that is full, one without a reader, or a full disk."""

    def __init__(self, kind: str) -> None:
        if kind == "full disk":
            self.descriptor = os.open("/dev/full", os.O_WRONLY)
            return
        reading, self.descriptor = os.pipe()
        if kind == "no reader":
            os.close(reading)
            return
        self.reading = reading
        os.set_blocking(self.descriptor, False)
        try:
            while True:
                os.write(self.descriptor, b"." * 512)
        except BlockingIOError:
            os.set_blocking(self.descriptor, True)


@pytest.fixture(params=["full pipe", "no reader", "full disk"])
def output(request: pytest.FixtureRequest) -> Iterator[int]:
    created = Output(request.param)
    yield created.descriptor
    os.close(created.descriptor)


def wait_until_up(installation: Installation) -> None:
    """Wait until `up`, of which nothing can be read, has started all."""

    def look() -> bool:
        installation.port = int((installation.data_dir / "server.url").read_text().rpartition(":")[2] or 0)
        if installation.api.call("GET", f"rooms/{ROOM}").status != 200:
            raise NotYet("there is no room")
        return bool(installation.machine()["daemon_connected"] and installation.role()["machine"])

    wait_until(look, "everything is up")


def test_up_without_reader_restarts_killed_server(bare: Installation, output: int) -> None:
    up = bare.start_with_output(output, "up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
    wait_until_up(bare)
    for name in ("server", "daemon"):
        killed = bare.process_id(name)
        os.kill(killed, signal.SIGKILL)
        bare.wait_until_replaced(name, killed)
    bare.wait_for_task(bare.send("paint"), "completed")
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    assert {} == find_processes(str(bare.root))


def test_up_whose_reader_leaves_restarts_killed_server(bare: Installation) -> None:
    """`greenroom up 2>&1 | head -1`"""
    reading, writing = os.pipe()
    bare.start_with_output(writing, "up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
    os.close(writing)
    with os.fdopen(reading) as reader:
        assert "up: starting the server\n" == reader.readline()
    wait_until_up(bare)
    killed = bare.process_id("server")
    os.kill(killed, signal.SIGKILL)
    bare.wait_until_replaced("server", killed)


def test_server_and_daemon_without_reader_do_tasks(bare: Installation, output: int) -> None:
    bare.start_with_output(output, "server", "--listen", "127.0.0.1:0")
    bare.port = wait_until(
        lambda: int((bare.data_dir / "server.url").read_text().rpartition(":")[2]), "the server listens"
    )
    bare.open_room()
    daemon = bare.start_with_output(output, "daemon", "start", "--config", str(bare.write_team()))
    wait_until(lambda: bare.machine()["daemon_connected"], "the daemon is connected")
    bare.assign()
    bare.assign("reviewer")
    for text in ("paint", "sand", "fail:1 saw"):
        bare.wait_for_task(bare.send(text), "completed")
    daemon.send(signal.SIGTERM)
    assert daemon.wait() == 0


def test_agent_without_reader_of_notes_gets_task(installation: Installation, output: int) -> None:
    installation.send("paint")
    done = subprocess.run(
        [*PROGRAM, "wait-for-task", ROOM, "--role", "builder"],
        env=installation.environment(), stdout=subprocess.PIPE, stderr=output, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"paint" in done.stdout


def test_work_without_reader_does_tasks(installation: Installation, output: int) -> None:
    work = installation.start_with_output(output, "work", ROOM, "--role", "builder", "--then", "user", "--", "cat")
    for text in ("paint", "sand"):
        installation.wait_for_task(installation.send(text), "completed")
    work.send(signal.SIGTERM)
    assert work.wait() == 130


def test_data_for_a_slow_reader_is_whole(installation: Installation) -> None:
    """Also where the pipe was made non-blocking by a program that shares it."""
    installation.send(LONG_TEXT)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    agent = installation.start_with_output(writing, "wait-for-task", ROOM, "--role", "builder")
    os.close(writing)
    # It has printed as much as the pipe holds when the task is claimed and the pipe is full.
    wait_until(lambda: installation.role()["status"] == "working" and is_full(reading), "the pipe is full")
    with os.fdopen(reading) as reader:
        printed = reader.read()
    assert agent.wait() == 0
    assert LONG_TEXT in printed
    assert "Traceback" not in printed


def is_full(reading: int) -> bool:
    """Return whether a pipe holds all that it can."""
    waiting = bytearray(4)
    fcntl.ioctl(reading, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, sys.byteorder) > 60_000


def test_verb_whose_reader_left_ends_quietly(installation: Installation) -> None:
    """`greenroom messages shop | head -1`"""
    installation.send(LONG_TEXT)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PROGRAM, "messages", ROOM],
        env=installation.environment(), stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (1, b"") == (done.returncode, done.stderr)


ENTER_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal at standard output the one that controls this session, then becomes the given command."""


def start_working(installation: Installation, journal: AgentJournal) -> str:
    task = installation.send("fork hold:gate and paint")
    journal.wait_for("forked", task=task)
    return task


def test_closed_terminal_stops_up_in_order(bare: Installation) -> None:
    controller, terminal = pty.openpty()
    arguments = ("up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
    up = bare.start_with_output(terminal, *arguments, wrapper=(sys.executable, "-c", ENTER_TERMINAL))
    os.close(terminal)
    wait_until_up(bare)
    journal = AgentJournal(bare.agent_folder)
    task = start_working(bare, journal)
    os.close(controller)
    again = bare.start_up(bare.write_team())  # at once: it waits for what still ends
    assert up.wait() == 0
    assert bare.task(task)["failures"] == 0, "an intended stop is not a failure"
    journal.open_gate("gate")
    assert 2 == bare.wait_for_task(task, "completed")["attempt"]
    assert again.poll() is None


def test_up_waits_for_processes_of_killed_up(bare: Installation) -> None:
    first = bare.start_up(bare.write_team())
    journal = AgentJournal(bare.agent_folder)
    task = start_working(bare, journal)
    stopped = [bare.process_id(name) for name in ("server", "daemon")]
    with stopped_processes(*stopped):  # they end as late as the test wants
        first.kill()
        again = bare.start("up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
        for name, pid in zip(("server", "daemon"), stopped, strict=True):
            note = f"waiting until an earlier {name} (process {pid}) has ended"
            wait_until(partial(is_noted, again, note), "it waits")
            os.kill(pid, signal.SIGCONT)
    wait_until(lambda: is_noted(again, "Ctrl-C stops everything"), "everything is up")
    bare.port = int((bare.data_dir / "server.url").read_text().rpartition(":")[2])
    journal.open_gate("gate")
    assert "completed" == bare.wait_for_task(task, "completed")["status"]
    assert again.poll() is None


def test_up_waits_for_ending_up_and_for_ending_daemon(bare: Installation) -> None:
    first = bare.start_up(bare.write_team())
    start_working(bare, AgentJournal(bare.agent_folder))
    daemon = bare.process_id("daemon")
    with stopped_processes(daemon):
        first.send(signal.SIGTERM)
        wait_until(lambda: "up: stopping" in first.err, "it is stopping")
        again = bare.start("up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
        wait_until(lambda: is_noted(again, "waiting until an earlier `greenroom up`"), "the second one waits")
    wait_until(lambda: is_noted(again, "Ctrl-C stops everything"), "everything is up")
    assert first.wait() == 0


def test_up_waits_for_daemon_that_was_asked_to_end(bare: Installation) -> None:
    bare.start_server()
    bare.open_room()
    daemon = bare.start_daemon()
    bare.assign()
    start_working(bare, AgentJournal(bare.agent_folder))
    assert bare.server is not None
    bare.server.end()
    daemon.send(signal.SIGTERM)  # it needs some time: its agent ignores SIGTERM, and the server is away
    wait_until(lambda: ENDING in (bare.data_dir / "daemon.lock").read_text(), "the daemon is ending")
    with stopped_processes(daemon.pid):
        again = bare.start("up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
        wait_until(lambda: is_noted(again, f"waiting until an earlier daemon (process {daemon.pid})"), "it waits")
    wait_until(lambda: is_noted(again, "Ctrl-C stops everything"), "everything is up")
    assert daemon.wait() == 0


@contextmanager
def stopped_processes(*pids: int) -> Iterator[None]:
    """Stop processes by SIGSTOP inside the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def is_noted(process: StartedProcess, note: str) -> bool:
    """Return whether the process has printed a text. Raises AssertionError if it has exited instead."""
    is_there = note in process.out + process.err
    assert is_there or process.poll() is None, process.err
    return is_there
