"""Starts and stops a real Greenroom server in a process and folder of its own."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from greenroom.client.api_client import ApiClient
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.settings import paths

GREENROOM = Path(sys.executable).with_name("greenroom")
LISTENING_PREFIX = "listening on "
STOP_S = 10.0


@dataclass(frozen=True)
class RunningServer:
    """A running server: its address, operator token, data directory and process id."""

    url: str
    token: str
    data_dir: Path
    pid: int

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def session(self, token: str | None = None) -> ApiClient:
        """An API client with `token`, by default the operator's."""
        return ApiClient(self.url, token or self.token, DEFAULT_LIMITS)


@contextmanager
def run_server(database: str | None = None) -> Iterator[RunningServer]:
    """Start a server on `database`, by default SQLite in its own folder, and stop it when the block ends."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        data_dir = Path(folder) / "state"
        with start_server(data_dir, database) as (process, url):
            yield describe_server(data_dir, url, process.pid)


def describe_server(data_dir: Path, url: str, pid: int) -> RunningServer:
    """A listening server, with the operator token read from its data directory."""
    token = paths.operator_token(data_dir).read_text(encoding="utf-8").strip()
    return RunningServer(url, token, data_dir, pid)


@contextmanager
def start_server(
    data_dir: Path, database: str | None = None, port: int = 0
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a server and wait until it listens: its process and URL. With port 0 the system chooses the port."""
    command = [str(GREENROOM), "server", "--listen", f"127.0.0.1:{port}", "--data-dir", str(data_dir)]
    command += ["--database", database] if database is not None else []
    with run_process(command, clean_environment(data_dir.parent)) as process:
        yield process, read_address(process)


def free_port() -> int:
    """A port that is free now, for callers that need its number in advance or reuse it after a restart."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def read_address(process: "subprocess.Popen[str]") -> str:
    """Read the address that a server prints to stderr when it listens; `RuntimeError` if it exits before."""
    assert process.stderr is not None
    output = []
    for line in process.stderr:
        if line.startswith(LISTENING_PREFIX):
            return line.removeprefix(LISTENING_PREFIX).strip()
        output.append(line)
    raise RuntimeError(f"the server exited before it listened:\n{''.join(output)}")


@contextmanager
def run_process(
    command: list[str], environ: dict[str, str], terminate_first: bool = True
) -> Iterator["subprocess.Popen[str]"]:
    """A process that does not outlive the block; its stdout is discarded. `terminate_first`: send SIGTERM first."""
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate() if terminate_first else process.kill()
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment without this user's Greenroom and XDG settings, with `home` as HOME and `more` added."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GREENROOM_", "XDG_"))}
    return kept | {"HOME": str(home)} | more


def seconds_since(began_at: float) -> float:
    """Seconds since `began_at`, a reading of `time.perf_counter`."""
    return time.perf_counter() - began_at
