"""Measures a waiting agent: the time until `wait-for-task` sends its first request, and its memory while it waits."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psutil

from bench.sample import median
from bench.server_process import GREENROOM, RunningServer, clean_environment, run_process, run_server, seconds_since
from bench.table import BenchmarkResult, Comparison, Goal, Row
from greenroom.wire.requests import CreateRoom

TIMES: Final = 9
ROLE: Final = "builder"
TIMEOUT_S: Final = 15.0
SETTLE_S: Final = 1.0
"""Pause after the agent is present, until its claim stands and all its imports are done."""
MEBIBYTE: Final = 2**20


def measure() -> BenchmarkResult:
    """Time its start against a socket that only listens, in turn with a bare Python; then measure memory."""
    starts: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        for _ in range(TIMES):
            bare.append(time_bare(Path(folder)))
            starts.append(time_first_request(Path(folder)))
        weights = measure_memory(Path(folder))
    rows = (
        Row(
            label="start of `wait-for-task`, exec to first request",
            figure=1e3 * median(starts),
            unit="ms",
            comparison=Comparison("`python -c pass`, exec to exit", 1e3 * median(bare)),
            goal=Goal("<=", 120),
            samples=tuple(starts),
        ),
        Row(
            label="memory of a waiting `wait-for-task` (VmRSS)",
            figure=median([agent for agent, _ in weights]) / MEBIBYTE,
            unit="MiB",
            comparison=Comparison("a bare Python that waits", median([python for _, python in weights]) / MEBIBYTE),
            goal=Goal("<=", 25),
        ),
    )
    return BenchmarkResult(rows, (f"starts were between {1e3 * min(starts):.0f} and {1e3 * max(starts):.0f} ms",))


def wait_command(url: str, room: str) -> list[str]:
    """The command line that an agent runs."""
    return [str(GREENROOM), "wait-for-task", room, "--role", ROLE, "--url", url]


def time_bare(home: Path) -> float:
    """Seconds that a bare `python -c pass` takes."""
    began_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], env=clean_environment(home), check=True)
    return seconds_since(began_at)


def time_first_request(home: Path) -> float:
    """Seconds from starting the command until the first byte of its first request arrives."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(TIMEOUT_S)
        environ = clean_environment(home, GREENROOM_TOKEN="gr~bench")
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began_at = time.perf_counter()
        with run_process(wait_command(url, "bench"), environ, terminate_first=False):
            accepted, _ = listener.accept()
            with closing(accepted):
                accepted.settimeout(TIMEOUT_S)
                first = accepted.recv(1)
                took_s = seconds_since(began_at)
        if not first:
            raise RuntimeError("the agent closed the connection without a request")
        return took_s


def measure_memory(home: Path) -> list[tuple[int, int]]:
    """Memory in bytes of agents that wait at a real server, each paired with that of an idle Python."""
    weights = []
    with run_server() as greenroom, closing(greenroom.session()) as operator:
        for number in range(3):
            room = f"bench{number}"
            operator.create_room(CreateRoom(name=room, roles=[ROLE]))
            with start_waiting_agent(greenroom, room, home) as agent, start_waiting_python(home) as python:
                weights.append((psutil.Process(agent).memory_info().rss, psutil.Process(python).memory_info().rss))
    return weights


@contextmanager
def start_waiting_agent(greenroom: RunningServer, room: str, home: Path) -> Iterator[int]:
    """Start an agent and wait until it is present and waits; its process id."""
    with closing(greenroom.session()) as operator:
        token = operator.room_token(room, ROLE).token
        with run_process(wait_command(greenroom.url, room), clean_environment(home, GREENROOM_TOKEN=token)) as process:
            gives_up_at = time.monotonic() + TIMEOUT_S
            while not operator.snapshot(room).participants:
                if time.monotonic() > gives_up_at or process.poll() is not None:
                    raise RuntimeError("wait-for-task did not join")
                time.sleep(0.05)
            time.sleep(SETTLE_S)
            yield process.pid


@contextmanager
def start_waiting_python(home: Path) -> Iterator[int]:
    """Start a bare Python that waits for input; its process id."""
    with subprocess.Popen(
        [sys.executable, "-c", "import os; os.write(1, b'.'); os.read(0, 1)"],
        env=clean_environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        yield process.pid
