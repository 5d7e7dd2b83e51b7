"""Runs a command as a process group of its own, which can be adopted and ends as a whole."""

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.process.identity import ProcessIdentity, is_alive, wait_for_end
from greenroom.process.process_tree import KILL_S_MAX, end_group
from greenroom.process.run_folder import ExitRecord, read_command, read_exit_record, read_shim
from greenroom.process.spawn import ShimProcess, start_shim


class ExitStatus(msgspec.Struct, frozen=True):
    """How a command ended: its exit code, or the signal that ended it.

    With neither, the end was not recorded, since the shim was killed; or the command was never started, and
    `refused` says why.
    """

    code: int | None
    signal: int | None
    not_started_reason: str | None = None

    @property
    def is_success(self) -> bool:
        return self.code == 0

    @property
    def is_unknown(self) -> bool:
        return self.code is None and self.signal is None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"ended by {signal_name(self.signal)}"
        if self.not_started_reason is not None:
            return f"never started ({self.not_started_reason})"
        if self.code is None:
            return "how the command ended is unknown: the process that recorded it was killed"
        return f"exit code {self.code}"


class ProcessGroup:
    """One command with all processes that it starts, in a session and process group of its own.

    The group is led by a shim, which outlives the process that started it: `identity` is the shim's.
    """

    def __init__(
        self, folder: Path, identity: ProcessIdentity, marks: Mapping[str, str], start: ShimProcess | None = None
    ) -> None:
        self.identity = identity
        self._folder = folder
        self._marks = dict(marks)
        self._start = start
        self._is_watched = start is not None or is_alive(identity)
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name=f"watch {identity.pid}", daemon=True).start()

    @classmethod
    def spawn(
        cls,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes,
        folder: Path,
        marker_variables: Mapping[str, str] | None = None,
        output_bytes_max: int = DEFAULT_LIMITS.run_output_bytes_max,
        ends_with_parent: bool = False,
        grace_s: float = DEFAULT_LIMITS.stop_grace_s,
        may_start: Callable[[], bool] = lambda: True,
    ) -> "ProcessGroup":
        """Start `command` in `cwd`, a path without symlinks, and return when it runs.

        `marks` are variables of `env` that no other command has: processes that left the group and session are
        recognised by them. Input and output are files in `folder`, at most `output_bytes_max` bytes of each output
        stream: a command that reads slowly, or never, blocks no other process. What the command leaves when it ends
        has `grace_s` to end. With `ends_with_parent`, none of its processes outlives this process by more than
        `grace_s`. `may_start` is called last, when only the command itself
        is left to start. Raises ConfigurationError if the command cannot be started, NotNow if `may_start` returns
        False.
        """
        marks = marker_variables or {}
        start = start_shim(
            command, cwd, env, stdin, folder, marks, output_bytes_max, grace_s, ends_with_parent, may_start
        )
        return cls(folder, start.identity, marks, start)

    @classmethod
    def adopt(cls, folder: Path, marks: Mapping[str, str]) -> "ProcessGroup | None":
        """Adopt a command that an earlier process of Greenroom started; None when it was never started.

        A shim that has not recorded itself yet notices that its starter has ended, and starts nothing.
        """
        identity, record = read_shim(folder), read_exit_record(folder)
        if identity is None or (record is not None and record.refused is not None):
            end_group(identity, 0, marks)
            return None
        return cls(folder, identity, marks)

    def poll(self) -> ExitStatus | None:
        """How the command ended; None while it runs."""
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> ExitStatus | None:
        """Wait until the command has ended, at most `timeout_s`; how it ended, or None if it still runs."""
        if not self._ended.wait(timeout_s):
            return None
        record = read_exit_record(self._folder) or ExitRecord(None, None)
        return ExitStatus(record.code, record.signal, record.refused)

    def has_command_ended(self) -> bool:
        """Whether the command's end is recorded; what it left may run on for a moment."""
        return read_exit_record(self._folder) is not None

    def stop(self, grace_s: float) -> ExitStatus | None:
        """End the whole group: SIGTERM, `grace_s` to clean up, SIGKILL. It is no error if nothing runs.

        Call it also when the command has ended by itself: it ends processes that the command left, and the command
        itself where the shim was killed. Returns how the command ended; None only if a process cannot be ended, as
        it hangs in a system call.
        """
        end_group(self.identity, grace_s, self._marks, command=read_command(self._folder), is_watched=self._is_watched)
        return self.wait(KILL_S_MAX)

    def _watch(self) -> None:
        if self._start is not None:
            self._start.collect()
        wait_for_end(self.identity)
        self._ended.set()


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
