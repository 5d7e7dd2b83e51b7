"""The calendar of leases: which of them is to be looked at when. Must not know what is found when one is looked at.

A beat moves nothing here. A lease is filed on the page of the moment at which it would run out; when that moment has
come it is drawn and looked at, and whoever looks files it anew. So of a million leases a round costs only those whose
moment it is, and it may be taken in as many small parts as the beats in between need.
"""

from collections import deque
from typing import Final, Generic, TypeVar, cast

from greenroom.domain.lease import ENDLESS, Lease

SHEET_LEASES: Final = 32
"""Short, because a chain is taken down link by link, one inside the other."""


class Filed(Lease, gc=False):
    """A lease that lies in a calendar. `next` is the one under it on its sheet."""

    next: "Filed | None" = None


F = TypeVar("F", bound=Filed)


class Page(Generic[F]):
    """What is filed for one moment: sheets of leases, of which only the topmost lease is noted here.

    The leases of a sheet are chained to each other. Lists of them would be looked through by Python's cycle collector,
    which would keep every beat waiting for 30 ms where there are a million.
    """

    __slots__ = ("count", "sheets")

    def __init__(self) -> None:
        self.sheets: list[F] = []
        self.count = 0

    def add(self, lease: F) -> None:
        if self.count % SHEET_LEASES == 0:
            self.sheets.append(lease)
        else:
            lease.next = self.sheets[-1]
            self.sheets[-1] = lease
        self.count += 1


class Calendar(Generic[F]):
    """Pages of `page_s` seconds. Pages that were turned lie open until they are drawn empty, oldest first."""

    def __init__(self, page_s: float) -> None:
        self._page_s = page_s
        self._pages: dict[int, Page[F]] = {}
        self._open: deque[F] = deque()

    @property
    def is_open(self) -> bool:
        """Tell whether there is more to draw before the next turn."""
        return bool(self._open)

    def file(self, lease: F) -> None:
        """Have a lease drawn once its present deadline has come; an endless one never. It must not be filed already."""
        if lease.deadline == ENDLESS:
            return
        number = int(lease.deadline / self._page_s)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = Page()
        page.add(lease)

    def turn(self, now: float) -> None:
        """Open the pages up to `now`. What is filed from here on, on whatever page, waits for the next turn."""
        last = int(now / self._page_s)
        for number in sorted(page for page in self._pages if page <= last):
            self._open.extend(self._pages.pop(number).sheets)

    def draw(self) -> list[F]:
        """Take one sheet off the open pages: at most SHEET_LEASES leases, or none."""
        drawn: list[F] = []
        lease = self._open.popleft() if self._open else None
        while lease is not None:
            drawn.append(lease)
            under, lease.next = lease.next, None
            lease = cast("F | None", under)
        return drawn
