"""The shutdown of a long-lived process: by a signal, by one of its threads, or by the end of its parent."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from greenroom.exit_codes import ExitCode

CODE_OF_SIGNAL = {signal.SIGTERM: ExitCode.DONE, signal.SIGHUP: ExitCode.DONE, signal.SIGINT: ExitCode.INTERRUPTED}


def is_ignored(number: signal.Signals) -> bool:
    """Return whether a signal is to stay ignored: a SIGHUP that `nohup` ignores.

    A SIGINT that is ignored is handled: a shell makes its background jobs ignore it, which is about the terminal's
    Ctrl-C only.
    """
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


class Shutdown:
    """Takes the exit code from a signal or a thread; the first counts. By a pipe: a signal handler may take no lock."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._wakeup_reading, self._wakeup_writing = os.pipe()
        for descriptor in (self._writing, self._wakeup_reading, self._wakeup_writing):
            os.set_blocking(descriptor, False)

    def request(self, code: int) -> None:
        """End with that exit code, unless an end was requested before. From any thread, and from signal handlers."""
        try:
            os.write(self._writing, bytes([code]))
        except BlockingIOError:
            return  # the pipe is full of earlier requests

    def wait(self, parent_pipe: int | None = None) -> int:
        """Wait for the end; the exit code, which is 0 when the end is that `parent_pipe` (from the parent) closes."""
        watched = (
            [self._reading, self._wakeup_reading]
            if parent_pipe is None
            else [self._reading, self._wakeup_reading, parent_pipe]
        )
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self._reading in ready:
                return os.read(self._reading, 1)[0]
            if self._wakeup_reading in ready:
                os.read(self._wakeup_reading, 4096)
            elif not os.read(ready[0], 4096):
                return ExitCode.DONE

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Handle SIGTERM, SIGHUP and SIGINT as requests to end, inside the block. `nohup` keeps its effect.

        Python runs signal handlers on the main thread only, but the system may deliver the signal to any thread. Then
        nothing interrupts the main thread, and the process would not end: so a byte in a pipe wakes it.
        """

        def handle(number: int, frame: FrameType | None) -> None:
            self.request(CODE_OF_SIGNAL[signal.Signals(number)])

        handlers_before = {number: signal.signal(number, handle) for number in CODE_OF_SIGNAL if not is_ignored(number)}
        wakeup_fd_before = signal.set_wakeup_fd(self._wakeup_writing, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup_fd_before)
            for number, handler in handlers_before.items():
                signal.signal(number, handler)
