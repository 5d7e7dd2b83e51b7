"""Opens the stores that tests of the service run on."""

from collections.abc import Callable

from greenroom.domain.limits import Limits
from greenroom.store.store import Store
from greenroom.testing import MovedClock

OpenStore = Callable[[MovedClock, Limits], Store]


def open_in_memory(clock: MovedClock, limits: Limits) -> Store:
    return Store.open_memory(clock, limits=limits)


class StoreFactory:
    """Opens stores on the kind of database under test: in memory, unless a fixture replaces `open`."""

    def __init__(self) -> None:
        self.open: OpenStore = open_in_memory


store_factory = StoreFactory()
