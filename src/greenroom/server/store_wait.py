"""Waits at the server's start for a store that is unavailable: PostgreSQL is away, or a disk is full.

A server that ended instead would have to be started again once the database is back. It prints once what it waits for,
and does not listen meanwhile, so that probes find it not ready. Its lock names what it waits for, so that
`greenroom up` waits with it, and `greenroom doctor` shows it.
Limits: tries again every `RETRY_EVERY_S`, for as long as it takes.
"""

import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, TypeVar

from greenroom.domain.errors import StoreUnavailable
from greenroom.file_lock import DISK_FULL, WAITING, FileLock

RETRY_EVERY_S: Final = 1.0

T = TypeVar("T")


class StartCancelled(Exception):
    """The server is to stop before it has started: by a signal, or as the process that started it has ended."""


class StoreWait:
    """The waiting of one start. `parent_descriptor` is at its end of file once the starting process has ended."""

    def __init__(self, parent_descriptor: int | None) -> None:
        self._has_reported = False
        self._poll = select.poll()
        if parent_descriptor is not None:
            self._poll.register(parent_descriptor, select.POLLIN)

    def pause(self, error: StoreUnavailable, lock: FileLock) -> None:
        """Report the error, if it is the first one, and wait until it is time to try again. Raises StartCancelled."""
        with suppress(OSError):
            lock.write_info(f"{WAITING}{error.detail}")
        if not self._has_reported:
            self._has_reported = True
            print(f"greenroom server: {WAITING}{error} It starts by itself then.", file=sys.stderr, flush=True)
        if self._poll.poll(RETRY_EVERY_S * 1000):
            raise StartCancelled

    def repeat(self, attempt: Callable[[], T], lock: FileLock | None) -> T:
        """Call `attempt` until the store is available and its disk has space; return its result."""
        while True:
            try:
                return attempt()
            except StoreUnavailable as error:
                unavailable = error
            except OSError as error:
                if error.errno not in DISK_FULL:
                    raise
                unavailable = StoreUnavailable(f"{error.filename}: {error.strerror}.", "Free some space on its disk.")
            if lock is None:
                raise unavailable
            self.pause(unavailable, lock)

    def finish(self, lock: FileLock | None) -> None:
        """Report that the store is available, if the server has waited for it."""
        if self._has_reported and lock is not None:
            lock.write_info("")
            print("greenroom server: its store is available", file=sys.stderr, flush=True)


@contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """Raise StartCancelled in the block on SIGINT and SIGTERM: a server that is stopped ends with 0."""

    def cancel(number: int, frame: FrameType | None) -> None:
        raise StartCancelled

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
