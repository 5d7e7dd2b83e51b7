"""The retry policy of long-polling calls: how long a call may wait in the server, and when it is sent again.

Agents' claims and daemons' requests for assignments wait in the server all the time. When a server stops, all of them
fail at one moment, and must not all return at one moment. Where the server has reported many clients, each call is
therefore sent again at a random time of its own. Waits also differ in length, so that calls that once arrived together
do not arrive together for ever.

Options: `claim_wait_max_s`, `request_timeout_s`, `retry_pause_s`, and the interval at which the client beats.
"""

import msgspec

from greenroom.domain.presence import retry_pause_s
from greenroom.domain.reliability import Reliability

WAIT_SPREAD = 0.15
"""By how much of the longest wait the waits differ."""


class Standing(msgspec.Struct, kw_only=True):
    """The state of one such call. Times are seconds; each `fraction` is a new random number in [0, 1)."""

    wait_s_max: float
    pause_s_max: float
    crowd_pause_s_max: float
    crowd_return_s_max: float
    has_failed: bool = False

    def wait_s(self, fraction: float) -> float:
        """Return how long the call may wait for its answer."""
        return self.wait_s_max * (1 - WAIT_SPREAD * fraction)

    def answered(self) -> None:
        """Record that the server answered."""
        self.has_failed = False

    def failed(self, is_crowded: bool, fraction: float) -> float:
        """Record that no answer came; return the seconds before the next try."""
        was_failing, self.has_failed = self.has_failed, True
        longest_s = self.crowd_pause_s_max if is_crowded else self.pause_s_max
        return retry_pause_s(longest_s, is_crowded, was_failing, fraction)

    def returned_in_crowd(self, fraction: float) -> float:
        """Record that the client is present again after an absence; return the seconds before the next call.

        All agents of a machine return when it does, and nothing else keeps them apart. Without many clients there is no
        such pause: the call is sent at once.
        """
        self.has_failed = False
        return self.crowd_return_s_max * fraction


def standing_for(limits: Reliability, interval_s: float, wait_s_max: float | None = None) -> Standing:
    """Return the policy for a client that beats every `interval_s`; a call waits at most for what that allows."""
    longest_s = limits.claim_wait_for(interval_s)
    crowd_pause_s = limits.retry_pause_for(interval_s, is_crowded=True)
    return Standing(
        wait_s_max=longest_s if wait_s_max is None else min(longest_s, wait_s_max),
        pause_s_max=limits.retry_pause_for(interval_s),
        crowd_pause_s_max=crowd_pause_s,
        crowd_return_s_max=interval_s - limits.request_timeout_for(interval_s) - crowd_pause_s,
    )
