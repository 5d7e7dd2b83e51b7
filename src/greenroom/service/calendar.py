"""The calendar of leases: which of them is to be looked at when. Must not know what is found when one is looked at.

A beat moves nothing here. A lease is filed on the page of the moment at which it would run out; when that moment has
come it is drawn and looked at, and whoever looks files it anew. So of a million leases a round costs only those whose
moment it is, and it may be taken in as many small parts as the beats in between need.
"""

from collections import deque
from typing import Final, Generic, TypeVar

from greenroom.domain.lease import ENDLESS, Lease

Filed = TypeVar("Filed", bound=Lease)

SHEET_LEASES: Final = 32
"""Small, because the cycle collector looks once through each new sheet, and at up to 700 of them in one go."""


class Calendar(Generic[Filed]):
    """Pages of `page_s` seconds. Pages that were turned lie open until they are drawn empty, oldest first.

    A page is kept as full sheets and one that is being filled. Full ones are tuples: Python's cycle collector leaves
    those alone once it has seen them, while it would look through lists of a million leases again and again.
    """

    def __init__(self, page_s: float) -> None:
        self._page_s = page_s
        self._filling: dict[int, list[Filed]] = {}
        self._full: dict[int, list[tuple[Filed, ...]]] = {}
        self._open: deque[tuple[Filed, ...]] = deque()

    @property
    def is_open(self) -> bool:
        """Tell whether there is more to draw before the next turn."""
        return bool(self._open)

    def file(self, lease: Filed) -> None:
        """Have a lease drawn once its present deadline has come; an endless one never."""
        if lease.deadline == ENDLESS:
            return
        number = int(lease.deadline / self._page_s)
        sheet = self._filling.get(number)
        if sheet is None:
            self._filling[number] = [lease]
            return
        sheet.append(lease)
        if len(sheet) >= SHEET_LEASES:
            self._full.setdefault(number, []).append(tuple(sheet))
            del self._filling[number]

    def turn(self, now: float) -> None:
        """Open the pages up to `now`. What is filed from here on, on whatever page, waits for the next turn."""
        last = int(now / self._page_s)
        for number in sorted(page for page in {*self._full, *self._filling} if page <= last):
            self._open.extend(self._full.pop(number, ()))
            self._open.append(tuple(self._filling.pop(number, ())))

    def draw(self) -> tuple[Filed, ...]:
        """Take one sheet off the open pages: at most SHEET_LEASES leases, or none."""
        return self._open.popleft() if self._open else ()
