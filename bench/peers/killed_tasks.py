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

from bench.peers import installation, processes
from bench.peers.redis import redis
from bench.server_process import GREENROOM, RunningServer, clean_environment, run_process, run_server
from greenroom.clock import parse_instant
from greenroom.wire.requests import CreateRoom, SendMessage, SetAgentSpec

VISIBILITY_S: Final = 10
ROLE: Final = "mortal"
MACHINE: Final = "bench"
KILLED_TASK_SCRIPT: Final = Path(__file__).parent / "foreign" / "mortal.py"
GREENROOM_NAME: Final = "Greenroom on SQLite, agent of a daemon"
LATE: Final = f"Celery + Redis, acks late, visibility timeout {VISIBILITY_S} s"
REJECTED: Final = f"{LATE}, reject on worker lost"
PROCRASTINATE: Final = "Procrastinate on PostgreSQL, stalled jobs retried every minute"
DATAGRAM_BYTES: Final = 1024
TIMEOUT_S: Final = 30.0


class StartReport(msgspec.Struct, frozen=True):
    """The start of a run: its task, its process id, and when, by the monotonic clock."""

    key: str
    pid: int
    at: float


class StartListener:
    """Receives the reports of tasks that began, on a datagram socket."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.ear"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))

    def wait_for_start(self, timeout_s: float) -> StartReport | None:
        """Wait for the next run to begin; None after `timeout_s`."""
        self._socket.settimeout(timeout_s)
        with suppress(TimeoutError):
            return msgspec.json.decode(self._socket.recv(DATAGRAM_BYTES), type=StartReport)
        return None

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class KillableSystem:
    """A running system. `submit` gives it a task; `crash` kills all that runs tasks, and starts it again at once."""

    name: str
    starts: StartListener
    submit: Callable[[], None]
    kill_all: Callable[[], None]
    backoff_s: Callable[[], float] | None = None
    """The backoff before the last task was run again, where the system reports one."""


class RestartedWorker:
    """The worker process of a system, restarted after each kill."""

    def __init__(self, start: Callable[[], AbstractContextManager["subprocess.Popen[str]"]], stack: ExitStack) -> None:
        self._start, self._stack = start, stack
        self._process = stack.enter_context(start())

    def kill_and_restart(self) -> None:
        """Kill the process and all of its group, and start it again at once, as a supervisor would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = self._stack.enter_context(self._start())


@contextmanager
def greenroom(folder: Path) -> Iterator[list[KillableSystem]]:
    """A server and a daemon. Each task has a room of its own: three failures would make one role crash-loop."""
    with ExitStack() as stack:
        ear = stack.enter_context(closing(StartListener(folder, "greenroom")))
        config = folder / "greenroom.toml"
        command = msgspec.json.encode([sys.executable, "-SE", str(KILLED_TASK_SCRIPT), str(ear.path)]).decode()
        config.write_text(f"[daemon.harnesses.{ROLE}]\ncommand = {command}\n", encoding="utf-8")
        running = stack.enter_context(run_server())
        keeper = DaemonWithRooms(running, config, stack)
        yield [KillableSystem(GREENROOM_NAME, ear, keeper.submit, keeper.kill_and_restart, keeper.backoff_s)]


class DaemonWithRooms:
    """Runs the daemon, and creates the rooms in which its agents work."""

    def __init__(self, running: RunningServer, config: Path, stack: ExitStack) -> None:
        self._server, self._config, self._stack = running, config, stack
        self._numbers = itertools.count()
        self._room = ""
        self._process = self._start()

    def submit(self) -> None:
        """Create a room, assign its role to the machine, and send a message that opens a task."""
        self._room = f"room{next(self._numbers)}"
        with closing(self._server.session()) as operator:
            operator.create_room(CreateRoom(name=self._room, roles=[ROLE]))
            operator.set_agent_spec(self._room, ROLE, SetAgentSpec(kind="remote", machine=MACHINE, harness=ROLE))
            operator.send_message(self._room, SendMessage(sender="user", text="Live."))

    def kill_and_restart(self) -> None:
        """Kill the daemon, then the processes of the task, as a power failure would; start the daemon again."""
        self._process.kill()
        self._process.wait()
        for pid in find_processes(f"GREENROOM_ROOM={self._room}"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process = self._start()

    def backoff_s(self) -> float:
        """Seconds from the last reported end until the daemon may run the role again."""
        with closing(self._server.session()) as operator:
            ends = [event for event in operator.room_events(self._room) if event.type == "agent.exited"]
        ended = ends[-1] if len(ends) == 1 else next(event for event in ends if event.data.get("until"))
        return max(0.0, parse_instant(str(ended.data["until"])) - parse_instant(str(ended.data["at"])))

    def _start(self) -> "subprocess.Popen[str]":
        command = [str(GREENROOM), "daemon", "start", "--config", str(self._config), "--url", self._server.url]
        command += ["--data-dir", str(self._server.data_dir), "--machine", MACHINE]
        process = self._stack.enter_context(run_process(command, clean_environment(self._config.parent)))
        gives_up_at = time.monotonic() + TIMEOUT_S
        with closing(self._server.session()) as operator:
            while not any(machine.daemon_connected for machine in operator.machines()):
                if time.monotonic() > gives_up_at or process.poll() is not None:
                    raise RuntimeError("the daemon did not connect")
                time.sleep(0.05)
        return process


def find_processes(mark: str) -> list[int]:
    """Ids of the processes that have `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


@contextmanager
def celery(folder: Path) -> Iterator[list[KillableSystem]]:
    """A worker of two processes on a default Redis, with both ways to treat a task whose process was killed."""
    with ExitStack() as stack:
        ear = stack.enter_context(closing(StartListener(folder, "celery")))
        url = stack.enter_context(redis(folder, "mortal-redis"))
        variables = {"BENCH_BROKER": url, "BENCH_LISTENER": str(ear.path), "BENCH_VISIBILITY_S": str(VISIBILITY_S)}
        words = [
            "--app",
            "bench.peers.foreign.celery_killed_tasks",
            "worker",
            "--concurrency",
            "2",
            "--pool",
            "prefork",
        ]
        command = [installation.peers_python(), "-m", "celery", *words, "--loglevel", "ERROR"]
        worker = RestartedWorker(lambda: processes.start_server(folder, "celery-worker", command, **variables), stack)
        client = stack.enter_context(processes.start_client(folder, "celery_submitter", **variables))
        keys = itertools.count()

        def make_submit(kind: str) -> Callable[[], None]:
            return lambda: client.call("submit", kind, f"{kind}{next(keys)}")

        yield [
            KillableSystem(LATE, ear, make_submit("late"), worker.kill_and_restart),
            KillableSystem(REJECTED, ear, make_submit("rejected"), worker.kill_and_restart),
        ]


@contextmanager
def procrastinate(folder: Path, database: str) -> Iterator[list[KillableSystem]]:
    """A worker whose jobs are its own threads: when one is killed, all are."""
    with ExitStack() as stack:
        ear = stack.enter_context(closing(StartListener(folder, "procrastinate")))
        variables = {"BENCH_DATABASE": database, "BENCH_LISTENER": str(ear.path)}
        client = stack.enter_context(processes.start_client(folder, "procrastinate_submitter", **variables))
        client.call("open")
        app = "bench.peers.foreign.procrastinate_killed_tasks.app"
        command = [installation.peers_python(), "-m", "procrastinate", "--app", app, "worker"]
        worker = RestartedWorker(
            lambda: processes.start_server(folder, "procrastinate-worker", command, **variables), stack
        )
        keys = itertools.count()
        yield [
            KillableSystem(
                PROCRASTINATE, ear, lambda: client.call("submit", f"job{next(keys)}"), worker.kill_and_restart
            )
        ]
