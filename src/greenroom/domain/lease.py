"""Knows what a lease is and how it is renewed, extended and ended. Must not know whose it is or what ends with it."""

import msgspec

ENDLESS = float("inf")


class Lease(msgspec.Struct, gc=False):
    """The right to be counted as present until `deadline`, in monotonic seconds of the server.

    `marked` is set while the transaction that records its end is under way: from then on it cannot be renewed.
    `gc=False` keeps a million of these out of the cycle collector's rounds; they hold no references that could cycle.
    """

    connection: str
    length_s: float
    deadline: float
    marked: bool = False

    def renew(self, now: float) -> bool:
        """Count it anew from `now`; False when its end is already being recorded."""
        if self.marked:
            return False
        self.deadline = now + self.length_s
        return True

    def is_due(self, now: float) -> bool:
        """Tell whether it has run out and nobody has begun to record that yet."""
        return self.deadline <= now and not self.marked


def extended(deadline: float, length_s: float, now: float) -> float:
    """The deadline after an absence of the server: an outage of ours is not a death of theirs."""
    return max(deadline, now + length_s)


def was_absent(late_s: float, ttl_s: float) -> bool:
    """Tell whether a sweep that comes `late_s` later than planned means that the server itself was away."""
    return late_s > ttl_s / 10
