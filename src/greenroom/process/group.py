"""Runs a command as a process group of its own, which can be adopted and ends as a whole."""

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from greenroom.domain.reliability import DEFAULTS
from greenroom.process.identity import Identity, await_end, is_alive
from greenroom.process.journal import Record, command_in, record_in, wrapper_in
from greenroom.process.members import KILL_S_MAX, end_group
from greenroom.process.start import Start, start_wrapper


class Exit(msgspec.Struct, frozen=True):
    """How a command ended: its exit code, or the signal that ended it.

    With neither, the end was not recorded, since the shim was killed; or the command was never started, and
    `refused` says why.
    """

    code: int | None
    signal: int | None
    refused: str | None = None

    @property
    def is_success(self) -> bool:
        return self.code == 0

    @property
    def is_unseen(self) -> bool:
        return self.code is None and self.signal is None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"ended by {signal_name(self.signal)}"
        if self.refused is not None:
            return f"never started ({self.refused})"
        if self.code is None:
            return "how the command ended is unknown: the process that recorded it was killed"
        return f"exit code {self.code}"


class Group:
    """One command with all processes that it starts, in a session and process group of its own.

    The group is led by a shim, which outlives the process that started it: `identity` is the shim's.
    """

    def __init__(self, folder: Path, identity: Identity, marks: Mapping[str, str], start: Start | None = None) -> None:
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
        marks: Mapping[str, str] | None = None,
        output_bytes_max: int = DEFAULTS.run_output_bytes_max,
        lifeline: bool = False,
        grace_s: float = DEFAULTS.stop_grace_s,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> "Group":
        """Start `command` in `cwd`, a path without symlinks, and return when it runs.

        `marks` are variables of `env` that no other command has: processes that left the group and session are
        recognised by them. Input and output are files in `folder`, at most `output_bytes_max` bytes of each output
        stream: a command that reads slowly, or never, blocks no other process. With `lifeline`, none of its processes
        outlives this process by more than `grace_s`. `may_begin` is called last, when only the command itself is left
        to start. Raises ConfigurationError if the command cannot be started, NotNow if `may_begin` returns False.
        """
        lifeline_grace_s = grace_s if lifeline else None
        start = start_wrapper(
            command, cwd, env, stdin, folder, marks or {}, output_bytes_max, lifeline_grace_s, may_begin
        )
        return cls(folder, start.identity, marks or {}, start)

    @classmethod
    def adopt(cls, folder: Path, marks: Mapping[str, str]) -> "Group | None":
        """Adopt a command that an earlier process of Greenroom started; None when it was never started.

        A shim that has not recorded itself yet notices that its starter has ended, and starts nothing.
        """
        identity, record = wrapper_in(folder), record_in(folder)
        if identity is None or (record is not None and record.refused is not None):
            end_group(identity, 0, marks)
            return None
        return cls(folder, identity, marks)

    def poll(self) -> Exit | None:
        """How the command ended; None while it runs."""
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """Wait until the command has ended, at most `timeout_s`; how it ended, or None if it still runs."""
        if not self._ended.wait(timeout_s):
            return None
        record = record_in(self._folder) or Record(None, None)
        return Exit(record.code, record.signal, record.refused)

    def stop(self, grace_s: float) -> Exit | None:
        """End the whole group: SIGTERM, `grace_s` to clean up, SIGKILL. It is no error if nothing runs.

        Call it also when the command has ended by itself: it ends processes that the command left, and the command
        itself where the shim was killed. Returns how the command ended; None only if a process cannot be ended, as
        it hangs in a system call.
        """
        end_group(self.identity, grace_s, self._marks, command=command_in(self._folder), is_watched=self._is_watched)
        return self.wait(KILL_S_MAX)

    def _watch(self) -> None:
        if self._start is not None:
            self._start.collect()
        await_end(self.identity)
        self._ended.set()


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
