"""Raises signals that ask an agent's command to end as an exception."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from greenroom.process.exit_signals import is_ignored

Handler = Callable[[int, FrameType | None], None]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """This process was asked to end. Not an Exception, so that no retry loop catches it."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted on the main thread when a signal asks to end.

    A second signal raises it again and cuts short the cleanup after the first one. A third ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [number for number in SIGNALS if not is_ignored(number)]
    before = {number: signal.signal(number, _interrupt) or signal.SIG_DFL for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _replace_handler(_interrupt, _interrupt_again)
    raise Interrupted(signal.Signals(number).name)


def _interrupt_again(number: int, frame: FrameType | None) -> None:
    _replace_handler(_interrupt_again, signal.SIG_DFL)
    raise Interrupted(signal.Signals(number).name)


def _replace_handler(current: Handler, following: Handler | signal.Handlers) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) == current:
            signal.signal(number, following)
