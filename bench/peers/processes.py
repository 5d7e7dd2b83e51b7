"""Starts, queries and stops the processes of other systems."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from bench.peers import installation
from bench.server_process import clean_environment

STOP_S: Final = 10.0
TAIL: Final = 2000


class PeerClient:
    """A process that takes calls as lines of words, and answers each with a line of JSON (`foreign/answering.py`)."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def call(self, *words: object) -> Any:
        """Send a call and return its answer. If the client exited instead, `RuntimeError` with the end of its log."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
            self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the client exited during the call {words[0]!r}:\n{read_tail(self._log)}")
        return json.loads(line)


@contextmanager
def start_client(folder: Path, module: str, *words: str, **variables: str) -> Iterator[PeerClient]:
    """Run a module of `foreign` with the other systems' interpreter. Closing its stdin ends it."""
    log = folder / f"{module}.log"
    command = [installation.peers_python(), "-m", f"bench.peers.foreign.{module}", *words]
    with log.open("wb") as output, run_process_group(command, folder, variables, subprocess.PIPE, output) as process:
        try:
            yield PeerClient(process, log)
        finally:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)


@contextmanager
def start_server(folder: Path, name: str, command: list[str], **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a server process; its output is appended to a log file in `folder`."""
    with (
        (folder / f"{name}.log").open("ab") as output,
        run_process_group(command, folder, variables, output, output) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)


@contextmanager
def run_process_group(
    command: list[str], folder: Path, variables: dict[str, str], stdout: int | IO[bytes], stderr: IO[bytes]
) -> Iterator["subprocess.Popen[str]"]:
    """Run a process in a session of its own; what is left of its group when the block ends is killed."""
    environ = clean_environment(folder, **variables)
    with subprocess.Popen(
        command,
        cwd=installation.ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def read_tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
