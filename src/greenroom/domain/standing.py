"""The client's side of a call that waits at the server: for how long, and when it is sent again. Must not send it.

Agents' claims and daemons' questions for wishes stand at the server all the time. When a server goes, all of them fail
in one moment, and whoever is not careful has all of them back in one moment. In a crowd each is sent again at a time of
its own, and the waits are of different lengths, so that those who once came together do not come together for ever.
"""

import msgspec

from greenroom.domain.presence import retry_pause_s
from greenroom.domain.reliability import Reliability

WAIT_SPREAD = 0.15
"""By how much of the longest wait the waits differ."""


class Standing(msgspec.Struct, kw_only=True):
    """What one such call knows about itself. All seconds; a `fraction` is drawn anew from [0, 1) each time."""

    wait_s_max: float
    pause_s_max: float
    crowd_pause_s_max: float
    crowd_return_s_max: float
    has_failed: bool = False

    def wait_s(self, fraction: float) -> float:
        """How long the call may wait for its answer."""
        return self.wait_s_max * (1 - WAIT_SPREAD * fraction)

    def answered(self) -> None:
        """Take it that the server answered."""
        self.has_failed = False

    def failed(self, is_crowded: bool, fraction: float) -> float:
        """Take it that nobody answered; the seconds after which to ask again."""
        was_failing, self.has_failed = self.has_failed, True
        longest_s = self.crowd_pause_s_max if is_crowded else self.pause_s_max
        return retry_pause_s(longest_s, is_crowded, was_failing, fraction)

    def returned_in_crowd(self, fraction: float) -> float:
        """Take it that the seat is sure again after a time in which it was not; the seconds after which to ask.

        One machine's return is that of all its agents, which have nothing else to keep them apart. Who is not in a
        crowd asks at once.
        """
        self.has_failed = False
        return self.crowd_return_s_max * fraction


def standing_for(limits: Reliability, interval_s: float, wait_s_max: float | None = None) -> Standing:
    """A call of a party that beats every `interval_s`; it may wait for what is left of that, or `wait_s_max`."""
    longest_s = limits.claim_wait_for(interval_s)
    crowd_pause_s = limits.retry_pause_for(interval_s, is_crowded=True)
    return Standing(
        wait_s_max=longest_s if wait_s_max is None else min(longest_s, wait_s_max),
        pause_s_max=limits.retry_pause_for(interval_s),
        crowd_pause_s_max=crowd_pause_s,
        crowd_return_s_max=interval_s - limits.request_timeout_for(interval_s) - crowd_pause_s,
    )
