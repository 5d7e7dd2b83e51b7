"""Starts, watches and ends processes, and finds those that were left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.waiting import PATIENCE_S, wait_until

KILL_INTERVAL_S = 0.02


class StartedProcess:
    """One process in a session of its own. Its output goes to files, or to the descriptor `output`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        logs: Path,
        output: int | None = None,
    ) -> None:
        self.name = name
        logs.mkdir(parents=True, exist_ok=True)
        self.out_path, self.err_path = logs / f"{name}.out", logs / f"{name}.err"
        with self.out_path.open("wb") as out, self.err_path.open("wb") as err:
            self._process = subprocess.Popen(
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out if output is None else output,
                stderr=err if output is None else output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def out(self) -> str:
        return self.out_path.read_text("utf-8")

    @property
    def err(self) -> str:
        return self.err_path.read_text("utf-8")

    def err_lines(self, beginning: str) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith(beginning)]

    def poll(self) -> int | None:
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL and wait for its end."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} (process {self.pid}) still runs after {PATIENCE_S:g} s") from None

    def end(self) -> None:
        """Send SIGTERM, and assert that it exits."""
        if self.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_S)
        if self.poll() is None:
            self.kill()
            raise AssertionError(f"{self.name} (process {self.pid}) did not end within {PATIENCE_S:g} s of SIGTERM")


def is_alive(pid: int) -> bool:
    """Return whether a process with that id runs; a zombie does not count."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children_of(pid: int) -> list[int]:
    """The children of a single-threaded process for which it has not waited yet."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def find_processes(mark: str) -> dict[int, str]:
    """The running processes whose environment contains `mark`, each with its command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if mark.encode() in (folder / "environ").read_bytes() and is_alive(int(folder.name)):
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
    return found


def wait_until_none_left(mark: str) -> None:
    """Wait until no process with `mark` in its environment runs."""
    wait_until(lambda: not find_processes(mark) or _raise_remaining(find_processes(mark)), "no process is left")


def kill_all(mark: str) -> dict[int, str]:
    """Kill all processes with `mark`, which only those that a test started can have; return them."""
    ended: dict[int, str] = {}

    def kill() -> bool:
        found = find_processes(mark)
        ended.update(found)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not found

    wait_until(kill, f"no process with {mark} is left", KILL_INTERVAL_S)
    return ended


def _raise_remaining(found: dict[int, str]) -> bool:
    if found:
        raise OSError(f"still there: {found}")
    return True
