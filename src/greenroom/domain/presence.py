"""The heartbeat policy of clients: when to beat, retry, rejoin, renew a claim and stop. It decides; the caller acts.

A `Presence` records what happened (`answered`, `failed`, `woke`) and gives the next call and its time. Its time is the
boot-time clock, which counts sleep: when a machine wakes, the next beat is overdue and is sent at once.

Options: `heartbeat_interval_s` and `heartbeat_ttl_s` for an agent, `daemon_heartbeat_interval_s` and
`daemon_heartbeat_ttl_s` for a daemon; `request_timeout_s` and `retry_pause_s` for both.
"""

import msgspec

from greenroom.domain.reliability import Reliability
from greenroom.domain.sitting import DRAIN, OK, REJOIN_REQUIRED, SUPERSEDED

JOIN = "join"
BEAT = "beat"

# Notices for the caller.
WARN_REJOINED = "warn_rejoined"
NOTE_UNREACHABLE = "note_unreachable"
NOTE_BACK = "note_back"
RENEW_CLAIM = "renew_claim"
STOP_SUPERSEDED = "stop_superseded"
STOP_DRAINED = "stop_drained"
STOP_REFUSED = "stop_refused"

REFUSED = "refused"
PAUSE_SHARE_MIN = 0.05
"""The shortest pause before the next beat, as a share of the interval, whatever the server answers."""


class Presence(msgspec.Struct, kw_only=True):
    """The presence of one client, an agent or a daemon, as the client sees it. Times are boot-time seconds."""

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
        """Return whether `call` is to be sent now."""
        return self.ended is None and now >= self.call_at

    def wait_s(self, now: float, step_s: float) -> float:
        """Return the seconds to wait before the next check; at most `step_s`, so that a wake from sleep is noticed."""
        return max(0.0, min(self.call_at - now, step_s))

    def is_present(self) -> bool:
        """Return whether the last call was answered, with `ok` or `drain`."""
        return self.ended is None and self.call == BEAT and self.ok_at is not None and self.failing_since is None

    def may_begin(self, now: float) -> bool:
        """Return whether a run may begin: only on an `ok` younger than the TTL, sleep included."""
        return self.ended is None and self.ok_at is not None and now - self.ok_at < self.ttl_s

    def answered(self, sent_at: float, verdict: str, next_in_s: float, now: float) -> list[str]:
        """Record the server's verdict on the call sent at `sent_at`; return the notices."""
        notices = self._contact_made()
        if verdict == OK:
            has_rejoined = self.call == JOIN and self.ok_at is not None
            self.call, self.call_at, self.ok_at = BEAT, now + self._pause_s(next_in_s), sent_at
            if has_rejoined:
                # One warning for each time that the server removed this client, once the rejoin has succeeded.
                return [RENEW_CLAIM, *(notice for notice in notices if notice != RENEW_CLAIM), WARN_REJOINED]
            return notices
        if verdict == REJOIN_REQUIRED:
            # After a beat, join at once. After a join, wait: client and server must not loop without a pause.
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
        """Record a refusal that no retry can change: no such room or token, or the role is taken."""
        self.ended = REFUSED
        return [STOP_REFUSED]

    def failed(self, now: float, fraction: float) -> list[str]:
        """Record that a call was not answered; it is retried after a random pause (`fraction` in [0, 1))."""
        is_first = self.failing_since is None
        if self.failing_since is None:
            self.failing_since = now
        longest_s = self.crowd_pause_s_max if self.is_crowded else self.pause_s_max
        self.call_at = now + retry_pause_s(longest_s, self.is_crowded, not is_first, fraction)
        if not self.has_noted and now - self.failing_since >= self.ttl_s:
            self.has_noted = True
            return [NOTE_UNREACHABLE]
        return [RENEW_CLAIM] if is_first else []

    def woke(self, now: float) -> list[str]:
        """Record that the machine slept: open connections may be lost, so beat and renew the claim at once."""
        self.call_at = now
        return [RENEW_CLAIM]

    def poke(self, now: float) -> None:
        """Beat at once: another call has shown that the server may have removed this client."""
        if self.failing_since is None:
            self.call_at = now

    def keep_pace(self, now: float, pace_s: float | None) -> None:
        """Beat more often than the server asks for: about every `pace_s` seconds; None ends that."""
        self.pace_s = pace_s
        if pace_s is not None and self.failing_since is None:
            self.call_at = min(self.call_at, now + pace_s)

    def silent_s(self, now: float) -> float:
        """Return the seconds since the last call answered `ok` was sent, or since the first failure if none was."""
        since = self.failing_since if self.ok_at is None else self.ok_at
        return 0.0 if since is None else now - since

    def _pause_s(self, next_in_s: float) -> float:
        pace = 1.0 if self.pace_s is None else min(1.0, self.pace_s / self.interval_s)
        return max(self.interval_s * PAUSE_SHARE_MIN, min(next_in_s, self.interval_s) * pace)

    def _contact_made(self) -> list[str]:
        """End an outage, if there was one; return its notices."""
        if self.failing_since is None:
            return []
        self.failing_since = None
        notices = [RENEW_CLAIM, NOTE_BACK] if self.has_noted else [RENEW_CLAIM]
        self.has_noted = False
        return notices


def presence_of_agent(limits: Reliability) -> Presence:
    """Return the presence of an agent that sends its own heartbeats."""
    return _presence(limits, limits.heartbeat_interval_s, limits.heartbeat_ttl_s, JOIN)


def presence_of_daemon(limits: Reliability) -> Presence:
    """Return the presence of a machine's daemon, which joins by registering."""
    return _presence(limits, limits.daemon_heartbeat_interval_s, limits.daemon_heartbeat_ttl_s, JOIN)


def retry_pause_s(longest_s: float, is_crowded: bool, was_failing: bool, fraction: float) -> float:
    """Return the seconds before a call that did not reach the server is retried: random, and at most `longest_s`.

    Where the server has reported many clients (`is_crowded`), the first pause is random and every later one is the
    longest. The first pause spreads the clients and the later ones keep them spread, so that equally many retry in each
    second, whenever the server comes back. With a new random pause each time, most would be about to retry at any
    moment.
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
