"""Opens the stores that tests of the service run on."""

from collections.abc import Callable

from greenroom.clock import MovedClock
from greenroom.domain.reliability import Reliability
from greenroom.store.store import Store

Opener = Callable[[MovedClock, Reliability], Store]


def in_memory(clock: MovedClock, limits: Reliability) -> Store:
    return Store.open_memory(clock, limits=limits)


class Databases:
    """Opens stores on the kind of database under test: in memory, unless a fixture replaces `open`."""

    def __init__(self) -> None:
        self.open: Opener = in_memory


databases = Databases()
