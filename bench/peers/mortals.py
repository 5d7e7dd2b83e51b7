"""Runs the systems whose tasks are killed while they run, each set up as its documentation says."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench.house import GREENROOM, House, environment, house, stopped_at_end
from bench.peers import place, processes
from bench.peers.redis import redis
from greenroom.clock import seconds_of
from greenroom.wire.requests import CreateRoom, SendMessage, SetAgent

VISIBILITY_S: Final = 10
ROLE: Final = "mortal"
MACHINE: Final = "bench"
MORTAL: Final = Path(__file__).parent / "foreign" / "mortal.py"
GREENROOM_NAME: Final = "Greenroom on SQLite, agent of a daemon"
LATE: Final = f"Celery + Redis, acks late, visibility timeout {VISIBILITY_S} s"
REJECTED: Final = f"{LATE}, reject on worker lost"
PROCRASTINATE: Final = "Procrastinate on PostgreSQL, stalled jobs retried every minute"
DATAGRAM_BYTES: Final = 1024
PATIENCE_S: Final = 30.0


class Told(msgspec.Struct, frozen=True):
    """The start of a run: its task, its process id, and when, by the monotonic clock."""

    key: str
    pid: int
    at: float


class Ear:
    """Receives the reports of tasks that began, on a datagram socket."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.ear"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))

    def hear(self, timeout_s: float) -> Told | None:
        """Wait for the next run to begin; None after `timeout_s`."""
        self._socket.settimeout(timeout_s)
        with suppress(TimeoutError):
            return msgspec.json.decode(self._socket.recv(DATAGRAM_BYTES), type=Told)
        return None

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Mortal:
    """A running system. `submit` gives it a task; `crash` kills all that runs tasks, and starts it again at once."""

    name: str
    ear: Ear
    submit: Callable[[], None]
    crash: Callable[[], None]
    backoff_s: Callable[[], float] | None = None
    """The backoff before the last task was run again, where the system reports one."""


class Worker:
    """The worker process of a system, restarted after each kill."""

    def __init__(self, start: Callable[[], AbstractContextManager["subprocess.Popen[str]"]], stack: ExitStack) -> None:
        self._start, self._stack = start, stack
        self._process = stack.enter_context(start())

    def crash(self) -> None:
        """Kill the process and all of its group, and start it again at once, as a supervisor would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = self._stack.enter_context(self._start())


@contextmanager
def greenroom(folder: Path) -> Iterator[list[Mortal]]:
    """A server and a daemon. Each task has a room of its own: three failures would make one role crash-loop."""
    with ExitStack() as stack:
        ear = stack.enter_context(closing(Ear(folder, "greenroom")))
        config = folder / "greenroom.toml"
        command = msgspec.json.encode([sys.executable, "-SE", str(MORTAL), str(ear.path)]).decode()
        config.write_text(f"[daemon.harnesses.{ROLE}]\ncommand = {command}\n", encoding="utf-8")
        running = stack.enter_context(house())
        keeper = Keeper(running, config, stack)
        yield [Mortal(GREENROOM_NAME, ear, keeper.submit, keeper.crash, keeper.backoff_s)]


class Keeper:
    """Runs the daemon, and creates the rooms in which its agents work."""

    def __init__(self, running: House, config: Path, stack: ExitStack) -> None:
        self._server, self._config, self._stack = running, config, stack
        self._numbers = itertools.count()
        self._room = ""
        self._process = self._start()

    def submit(self) -> None:
        """Create a room, assign its role to the machine, and send a message that opens a task."""
        self._room = f"room{next(self._numbers)}"
        with closing(self._server.session()) as operator:
            operator.create_room(CreateRoom(name=self._room, roles=[ROLE]))
            operator.wish(self._room, ROLE, SetAgent(kind="remote", machine=MACHINE, harness=ROLE))
            operator.send(self._room, SendMessage(sender="user", text="Live."))

    def crash(self) -> None:
        """Kill the daemon, then the processes of the task, as a power failure would; start the daemon again."""
        self._process.kill()
        self._process.wait()
        for pid in running_with(f"GREENROOM_ROOM={self._room}"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process = self._start()

    def backoff_s(self) -> float:
        """Seconds from the last reported end until the daemon may run the role again."""
        with closing(self._server.session()) as operator:
            ends = [event for event in operator.room_events(self._room) if event.type == "agent.exited"]
        ended = ends[-1] if len(ends) == 1 else next(event for event in ends if event.data.get("until"))
        return max(0.0, seconds_of(str(ended.data["until"])) - seconds_of(str(ended.data["at"])))

    def _start(self) -> "subprocess.Popen[str]":
        command = [str(GREENROOM), "daemon", "start", "--config", str(self._config), "--url", self._server.url]
        command += ["--data-dir", str(self._server.data_dir), "--machine", MACHINE]
        process = self._stack.enter_context(stopped_at_end(command, environment(self._config.parent)))
        gives_up_at = time.monotonic() + PATIENCE_S
        with closing(self._server.session()) as operator:
            while not any(machine.daemon_connected for machine in operator.machines()):
                if time.monotonic() > gives_up_at or process.poll() is not None:
                    raise RuntimeError("the daemon did not connect")
                time.sleep(0.05)
        return process


def running_with(mark: str) -> list[int]:
    """Ids of the processes that have `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


@contextmanager
def celery(folder: Path) -> Iterator[list[Mortal]]:
    """A worker of two processes on a default Redis, with both ways to treat a task whose process was killed."""
    with ExitStack() as stack:
        ear = stack.enter_context(closing(Ear(folder, "celery")))
        url = stack.enter_context(redis(folder, "mortal-redis"))
        variables = {"BENCH_BROKER": url, "BENCH_LISTENER": str(ear.path), "BENCH_VISIBILITY_S": str(VISIBILITY_S)}
        words = ["--app", "bench.peers.foreign.celery_mortals", "worker", "--concurrency", "2", "--pool", "prefork"]
        command = [place.python(), "-m", "celery", *words, "--loglevel", "ERROR"]
        worker = Worker(lambda: processes.server(folder, "celery-worker", command, **variables), stack)
        client = stack.enter_context(processes.client(folder, "celery_submitter", **variables))
        keys = itertools.count()

        def make_submit(kind: str) -> Callable[[], None]:
            return lambda: client.ask("submit", kind, f"{kind}{next(keys)}")

        yield [
            Mortal(LATE, ear, make_submit("late"), worker.crash),
            Mortal(REJECTED, ear, make_submit("rejected"), worker.crash),
        ]


@contextmanager
def procrastinate(folder: Path, database: str) -> Iterator[list[Mortal]]:
    """A worker whose jobs are its own threads: when one is killed, all are."""
    with ExitStack() as stack:
        ear = stack.enter_context(closing(Ear(folder, "procrastinate")))
        variables = {"BENCH_DATABASE": database, "BENCH_LISTENER": str(ear.path)}
        client = stack.enter_context(processes.client(folder, "procrastinate_submitter", **variables))
        client.ask("open")
        app = "bench.peers.foreign.procrastinate_mortals.app"
        command = [place.python(), "-m", "procrastinate", "--app", app, "worker"]
        worker = Worker(lambda: processes.server(folder, "procrastinate-worker", command, **variables), stack)
        keys = itertools.count()
        yield [Mortal(PROCRASTINATE, ear, lambda: client.ask("submit", f"job{next(keys)}"), worker.crash)]
