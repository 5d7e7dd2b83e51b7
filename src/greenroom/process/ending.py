"""How a long-lived process is told to end: by signals, its threads, or the end of who started it. Must not know why."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

DONE = 0
FAILED = 1
CONFLICT = 4
INTERRUPTED = 130

CODE_OF_SIGNAL = {signal.SIGTERM: DONE, signal.SIGHUP: DONE, signal.SIGINT: INTERRUPTED}


class Ending:
    """The exit code that is told first, by a signal or a thread. A pipe, since a signal's handler may take no lock."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        self._woken, self._wake = os.pipe()
        for descriptor in (self._writing, self._woken, self._wake):
            os.set_blocking(descriptor, False)

    def tell(self, code: int) -> None:
        """End with that exit code, unless an end was told before."""
        try:
            os.write(self._writing, bytes([code]))
        except BlockingIOError:
            return  # so many were told already

    def wait(self, follow: int | None = None) -> int:
        """Wait for the end. `follow` is a descriptor whose other side is held by who started us: its end is ours."""
        watched = [self._reading, self._woken] if follow is None else [self._reading, self._woken, follow]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if self._reading in ready:
                return os.read(self._reading, 1)[0]
            if self._woken in ready:
                os.read(self._woken, 4096)
            elif not os.read(ready[0], 4096):
                return DONE

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals that ask a process to end as what they mean.

        Python runs a signal's handler on the main thread alone, but the system may give the signal to any thread, and
        then nothing interrupts the main one: it sleeps on, and the process does not end. So it is woken by a byte.
        """

        def take(number: int, frame: FrameType | None) -> None:
            self.tell(CODE_OF_SIGNAL[signal.Signals(number)])

        before = {number: signal.signal(number, take) for number in CODE_OF_SIGNAL}
        woken_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(woken_before)
            for number, handler in before.items():
                signal.signal(number, handler)
