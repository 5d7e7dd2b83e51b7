"""Defines a lease: how it is renewed, extended and ended."""

import msgspec

ENDLESS = float("inf")


class Lease(msgspec.Struct, gc=False):
    """The right to count as present until `deadline`, in monotonic seconds of the server.

    `is_ending` is set while the transaction that records its end is under way: from then on it cannot be renewed.
    `gc=False` keeps up to a million leases out of the cycle collector's work; they hold no references that could cycle.
    """

    connection: str
    length_s: float
    deadline: float
    is_ending: bool = False

    def renew(self, now: float) -> bool:
        """Let the lease start again at `now`. Return False if its end is already being recorded."""
        if self.is_ending:
            return False
        self.deadline = now + self.length_s
        return True

    def is_due(self, now: float) -> bool:
        """Return whether the lease has run out and its end is not being recorded yet."""
        return self.deadline <= now and not self.is_ending


def extend_deadline(deadline: float, length_s: float, now: float) -> float:
    """Return the deadline after an absence of the server: its own outage must not expire a lease."""
    return max(deadline, now + length_s)


def was_server_absent(late_s: float, ttl_s: float) -> bool:
    """Return whether a sweep that runs `late_s` later than planned shows that the server itself was away."""
    return late_s > ttl_s / 10
