"""The database that a test of the service runs on. Must not know what is kept there."""

from collections.abc import Callable

from greenroom.clock import MovedClock
from greenroom.domain.reliability import Reliability
from greenroom.store.store import Store

Opener = Callable[[MovedClock, Reliability], Store]


def in_memory(clock: MovedClock, limits: Reliability) -> Store:
    return Store.open_memory(clock, limits=limits)


class Databases:
    """Opens stores on the one kind of database that is in use; in memory, unless a fixture says otherwise."""

    def __init__(self) -> None:
        self.open: Opener = in_memory


databases = Databases()
