"""A timing wheel of leases: selects the leases to check now.

A heartbeat changes nothing here. A lease is filed in the bucket of its deadline. When that time comes the lease is
taken out and checked, and its checker files it again. So a round over a million leases costs only those that are due,
and it can be split into small parts, with heartbeats answered in between.
"""

from collections import deque
from typing import Final, Generic, TypeVar, cast

from greenroom.domain.lease import ENDLESS, Lease
from greenroom.service.state.thread_rules import Guarded

CHAIN_LENGTH_MAX: Final = 32
"""Leases in one chain. Small, because Python frees a chain recursively, one link inside the other."""


class WheelEntry(Lease, Guarded, gc=False):
    """A lease that is filed in a calendar. `next` is the next one in its chain."""

    next: "WheelEntry | None" = None


F = TypeVar("F", bound=WheelEntry)


class Bucket(Guarded, Generic[F]):
    """The leases of one bucket, in chains of at most CHAIN_LENGTH_MAX; `chains` has the first lease of each chain.

    Lists of leases would be traversed by Python's cycle collector, which delays every heartbeat by 30 ms at a million
    leases; chains are not.
    """

    __slots__ = ("chains", "count")

    def __init__(self) -> None:
        self.chains: list[F] = []
        self.count = 0

    def add(self, lease: F) -> None:
        if self.count % CHAIN_LENGTH_MAX == 0:
            self.chains.append(lease)
        else:
            lease.next = self.chains[-1]
            self.chains[-1] = lease
        self.count += 1


class TimingWheel(Guarded, Generic[F]):
    """Buckets of `bucket_s` seconds each. Buckets that are due stay open until all their leases are taken out."""

    def __init__(self, bucket_s: float) -> None:
        self._bucket_s = bucket_s
        self._buckets: dict[int, Bucket[F]] = {}
        self._due: deque[F] = deque()

    @property
    def has_due(self) -> bool:
        """Whether open buckets still have leases to take out before the next turn."""
        return bool(self._due)

    def add(self, lease: F) -> None:
        """File a lease under its present deadline; an endless lease is not filed. It must not be filed already."""
        if lease.deadline == ENDLESS:
            return
        number = int(lease.deadline / self._bucket_s)
        page = self._buckets.get(number)
        if page is None:
            page = self._buckets[number] = Bucket()
        page.add(lease)

    def advance(self, now: float) -> None:
        """Open the buckets up to `now`. A lease that is filed later, in any bucket, waits for the next turn."""
        last = int(now / self._bucket_s)
        for number in sorted(page for page in self._buckets if page <= last):
            self._due.extend(self._buckets.pop(number).chains)

    def take_due(self) -> list[F]:
        """Take the leases of one chain out of the open buckets: at most CHAIN_LENGTH_MAX, or none."""
        leases: list[F] = []
        lease = self._due.popleft() if self._due else None
        while lease is not None:
            leases.append(lease)
            following, lease.next = lease.next, None
            lease = cast("F | None", following)
        return leases
