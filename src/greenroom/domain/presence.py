"""The client's side of presence: when to beat, try again, join again, drop a claim and stop. Must not do any of it.

One `Presence` is fed with what happened (`answered`, `failed`, `woke`) and says what to send next and when. Its time is
the boot-time clock, which counts sleep: a machine that wakes finds its next beat overdue and sends it at once.
"""

import msgspec

from greenroom.domain.reliability import Reliability
from greenroom.domain.sitting import DRAIN, OK, REJOIN_REQUIRED, SUPERSEDED

JOIN = "join"
BEAT = "beat"

# What the caller is told about.
WARN_REJOINED = "warn_rejoined"
NOTE_UNREACHABLE = "note_unreachable"
NOTE_BACK = "note_back"
RENEW_CLAIM = "renew_claim"
STOP_SUPERSEDED = "stop_superseded"
STOP_DRAINED = "stop_drained"
STOP_REFUSED = "stop_refused"

REFUSED = "refused"
PAUSE_SHARE_MIN = 0.05
"""The shortest pause before the next beat, as a share of the interval: no answer can make a client beat in a frenzy."""


class Presence(msgspec.Struct, kw_only=True):
    """What one beating party knows about its own presence. Times are boot-time seconds."""

    interval_s: float
    ttl_s: float
    timeout_s: float
    pause_s_max: float
    crowd_pause_s_max: float
    call: str = JOIN
    call_at: float = 0.0
    ok_at: float | None = None
    failing_since: float | None = None
    has_noted: bool = False
    is_crowded: bool = False
    pace_s: float | None = None
    ended: str | None = None

    def is_due(self, now: float) -> bool:
        """Tell whether `call` is to be sent now."""
        return self.ended is None and now >= self.call_at

    def wait_s(self, now: float, step_s: float) -> float:
        """How long to wait before looking again; never longer than a step, so that a wake from sleep is seen."""
        return max(0.0, min(self.call_at - now, step_s))

    def is_present(self) -> bool:
        """Tell whether the last word of the server was ok."""
        return self.ended is None and self.call == BEAT and self.ok_at is not None and self.failing_since is None

    def may_begin(self, now: float) -> bool:
        """Tell whether a run may begin: only on an ok younger than the TTL, sleep included."""
        return self.ended is None and self.ok_at is not None and now - self.ok_at < self.ttl_s

    def answered(self, sent_at: float, verdict: str, next_in_s: float, now: float) -> list[str]:
        """Take the server's verdict on the call sent at `sent_at`."""
        notices = self._contact_made()
        if verdict == OK:
            has_rejoined = self.call == JOIN and self.ok_at is not None
            self.call, self.call_at, self.ok_at = BEAT, now + self._pause_s(next_in_s), sent_at
            if has_rejoined:
                # Said once for each time the server had removed us, and only when it is made good.
                return [RENEW_CLAIM, *(notice for notice in notices if notice != RENEW_CLAIM), WARN_REJOINED]
            return notices
        if verdict == REJOIN_REQUIRED:
            # A beat is made good at once; a join that is told to join waits, or the two of us would spin.
            self.call_at = now + (self.pause_s_max if self.call == JOIN else 0.0)
            self.call = JOIN
            return notices
        if verdict == DRAIN:
            self.call, self.call_at, self.ok_at = BEAT, now + self._pause_s(next_in_s), sent_at
            return [*notices, STOP_DRAINED]
        assert verdict == SUPERSEDED
        self.ended = SUPERSEDED
        return [*notices, STOP_SUPERSEDED]

    def refused(self) -> list[str]:
        """Take it that the server will not have us, whatever we repeat: no such room or token, or the seat is taken."""
        self.ended = REFUSED
        return [STOP_REFUSED]

    def failed(self, now: float, fraction: float) -> list[str]:
        """Take it that a call was not answered; it is tried again after a random pause (`fraction` in [0, 1))."""
        first = self.failing_since is None
        if self.failing_since is None:
            self.failing_since = now
        longest_s = self.crowd_pause_s_max if self.is_crowded else self.pause_s_max
        self.call_at = now + retry_pause_s(longest_s, self.is_crowded, not first, fraction)
        if not self.has_noted and now - self.failing_since >= self.ttl_s:
            self.has_noted = True
            return [NOTE_UNREACHABLE]
        return [RENEW_CLAIM] if first else []

    def woke(self, now: float) -> list[str]:
        """Take it that the machine slept: whatever stood open may be dead, so beat and claim anew at once."""
        self.call_at = now
        return [RENEW_CLAIM]

    def poke(self, now: float) -> None:
        """Beat at once: somebody learned by other ways that the seat may be gone."""
        if self.failing_since is None:
            self.call_at = now

    def keep_pace(self, now: float, pace_s: float | None) -> None:
        """Beat more often than the server asks for: about every `pace_s` seconds; None ends that."""
        self.pace_s = pace_s
        if pace_s is not None and self.failing_since is None:
            self.call_at = min(self.call_at, now + pace_s)

    def silent_s(self, now: float) -> float:
        """Seconds since the sending of what was last answered ok, or since the first failure of one never answered."""
        since = self.failing_since if self.ok_at is None else self.ok_at
        return 0.0 if since is None else now - since

    def _pause_s(self, next_in_s: float) -> float:
        pace = 1.0 if self.pace_s is None else min(1.0, self.pace_s / self.interval_s)
        return max(self.interval_s * PAUSE_SHARE_MIN, min(next_in_s, self.interval_s) * pace)

    def _contact_made(self) -> list[str]:
        """Close an outage, if there was one."""
        if self.failing_since is None:
            return []
        self.failing_since = None
        notices = [RENEW_CLAIM, NOTE_BACK] if self.has_noted else [RENEW_CLAIM]
        self.has_noted = False
        return notices


def presence_of_agent(limits: Reliability) -> Presence:
    """The presence of an agent that beats for itself."""
    return _presence(limits, limits.heartbeat_interval_s, limits.heartbeat_ttl_s, JOIN)


def presence_of_daemon(limits: Reliability) -> Presence:
    """The presence of a machine's daemon; its joining is its registration."""
    return _presence(limits, limits.daemon_heartbeat_interval_s, limits.daemon_heartbeat_ttl_s, JOIN)


def retry_pause_s(longest_s: float, is_crowded: bool, was_failing: bool, fraction: float) -> float:
    """The seconds before something that found no server is tried again: random, and never more than `longest_s`.

    A crowd is scattered by its first pause, and every later one is the longest: so as many try in this second as in
    any other, whenever the server comes back. Drawn anew each time, most of them would be just about to try.
    """
    return longest_s if is_crowded and was_failing else longest_s * fraction


def _presence(limits: Reliability, interval_s: float, ttl_s: float, call: str) -> Presence:
    return Presence(
        interval_s=interval_s,
        ttl_s=ttl_s,
        timeout_s=limits.request_timeout_for(interval_s),
        pause_s_max=limits.retry_pause_for(interval_s),
        crowd_pause_s_max=limits.retry_pause_for(interval_s, is_crowded=True),
        call=call,
    )
