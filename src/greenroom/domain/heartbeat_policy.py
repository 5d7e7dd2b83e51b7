"""The policy of clients for heartbeats and long polls: when to send, retry, rejoin and stop.

It decides; the caller acts.

A `HeartbeatPolicy` records what happened (`record_answer`, `record_failure`, `record_wake`) and gives the next call and
its time. Its time is the boot-time clock, which counts sleep: when a machine wakes, the next beat is overdue and is
sent at once.

A `LongPollPolicy` says how long a claim, or a daemon's request for assignments, may wait in the server, and when it is
sent again. When a server stops, all these calls fail at one moment, and must not all return at one moment. Where the
server has reported many clients, each call is therefore sent again at a random time of its own. Waits also differ in
length, so that calls that once arrived together do not arrive together for ever.

Options: `heartbeat_interval_s` and `heartbeat_ttl_s` for an agent, `daemon_heartbeat_interval_s` and
`daemon_heartbeat_ttl_s` for a daemon; `request_timeout_s`, `retry_pause_s` and `claim_wait_max_s` for both.
"""

import msgspec

from greenroom.domain.limits import Limits
from greenroom.domain.participant import DRAIN, OK, REJOIN_REQUIRED, SUPERSEDED

JOIN = "join"
BEAT = "beat"

# Notices for the caller.
NOTICE_REJOINED = "warn_rejoined"
NOTICE_UNREACHABLE = "note_unreachable"
NOTICE_REACHABLE = "note_back"
RENEW_CLAIM = "renew_claim"
STOP_SUPERSEDED = "stop_superseded"
STOP_DRAINED = "stop_drained"
STOP_REFUSED = "stop_refused"

REFUSED = "refused"
PAUSE_SHARE_MIN = 0.05
"""The shortest pause before the next beat, as a share of the interval, whatever the server answers."""

WAIT_SPREAD = 0.15
"""By how much of the longest wait the waits differ."""


class HeartbeatPolicy(msgspec.Struct, kw_only=True):
    """The presence of one client, an agent or a daemon, as the client sees it. Times are boot-time seconds."""

    interval_s: float
    ttl_s: float
    timeout_s: float
    pause_s_max: float
    spread_pause_s_max: float
    next_call: str = JOIN
    next_call_at: float = 0.0
    ok_at: float | None = None
    failing_since: float | None = None
    has_reported_outage: bool = False
    spread_retries: bool = False
    pace_s: float | None = None
    end_reason: str | None = None

    def is_due(self, now: float) -> bool:
        """Return whether `call` is to be sent now."""
        return self.end_reason is None and now >= self.next_call_at

    def wait_s(self, now: float, step_s: float) -> float:
        """Return the seconds to wait before the next check; at most `step_s`, so that a wake from sleep is noticed."""
        return max(0.0, min(self.next_call_at - now, step_s))

    def is_present(self) -> bool:
        """Return whether the last call was answered, with `ok` or `drain`."""
        return (
            self.end_reason is None and self.next_call == BEAT and self.ok_at is not None and self.failing_since is None
        )

    def may_start_run(self, now: float) -> bool:
        """Return whether a run may begin: only on an `ok` younger than the TTL, sleep included."""
        return self.end_reason is None and self.ok_at is not None and now - self.ok_at < self.ttl_s

    def record_answer(self, sent_at: float, verdict: str, next_in_s: float, now: float) -> list[str]:
        """Record the server's verdict on the call sent at `sent_at`; return the notices."""
        notices = self._contact_made()
        if verdict == OK:
            has_rejoined = self.next_call == JOIN and self.ok_at is not None
            self.next_call, self.next_call_at, self.ok_at = BEAT, now + self._pause_s(next_in_s), sent_at
            if has_rejoined:
                # One warning for each time that the server removed this client, once the rejoin has succeeded.
                return [RENEW_CLAIM, *(notice for notice in notices if notice != RENEW_CLAIM), NOTICE_REJOINED]
            return notices
        if verdict == REJOIN_REQUIRED:
            # After a beat, join at once. After a join, wait: client and server must not loop without a pause.
            self.next_call_at = now + (self.pause_s_max if self.next_call == JOIN else 0.0)
            self.next_call = JOIN
            return notices
        if verdict == DRAIN:
            self.next_call, self.next_call_at, self.ok_at = BEAT, now + self._pause_s(next_in_s), sent_at
            return [*notices, STOP_DRAINED]
        assert verdict == SUPERSEDED
        self.end_reason = SUPERSEDED
        return [*notices, STOP_SUPERSEDED]

    def record_refusal(self) -> list[str]:
        """Record a refusal that no retry can change: no such room or token, or the role is taken."""
        self.end_reason = REFUSED
        return [STOP_REFUSED]

    def record_failure(self, now: float, fraction: float) -> list[str]:
        """Record that a call was not answered; it is retried after a random pause (`fraction` in [0, 1))."""
        is_first = self.failing_since is None
        if self.failing_since is None:
            self.failing_since = now
        longest_s = self.spread_pause_s_max if self.spread_retries else self.pause_s_max
        self.next_call_at = now + retry_pause_s(longest_s, self.spread_retries, not is_first, fraction)
        if not self.has_reported_outage and now - self.failing_since >= self.ttl_s:
            self.has_reported_outage = True
            return [NOTICE_UNREACHABLE]
        return [RENEW_CLAIM] if is_first else []

    def record_wake(self, now: float) -> list[str]:
        """Record that the machine slept: open connections may be lost, so beat and renew the claim at once."""
        self.next_call_at = now
        return [RENEW_CLAIM]

    def beat_now(self, now: float) -> None:
        """Beat at once: another call has shown that the server may have removed this client."""
        if self.failing_since is None:
            self.next_call_at = now

    def set_pace(self, now: float, pace_s: float | None) -> None:
        """Beat more often than the server asks for: about every `pace_s` seconds; None ends that."""
        self.pace_s = pace_s
        if pace_s is not None and self.failing_since is None:
            self.next_call_at = min(self.next_call_at, now + pace_s)

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
        notices = [RENEW_CLAIM, NOTICE_REACHABLE] if self.has_reported_outage else [RENEW_CLAIM]
        self.has_reported_outage = False
        return notices


class LongPollPolicy(msgspec.Struct, kw_only=True):
    """The state of one repeated long poll. Times are seconds; each `fraction` is a new random number in [0, 1)."""

    wait_s_max: float
    pause_s_max: float
    spread_pause_s_max: float
    spread_return_s_max: float
    has_failed: bool = False

    def wait_s(self, fraction: float) -> float:
        """Return how long the call may wait for its answer."""
        return self.wait_s_max * (1 - WAIT_SPREAD * fraction)

    def record_answer(self) -> None:
        """Record that the server answered."""
        self.has_failed = False

    def record_failure(self, spread_retries: bool, fraction: float) -> float:
        """Record that no answer came; return the seconds before the next try."""
        was_failing, self.has_failed = self.has_failed, True
        longest_s = self.spread_pause_s_max if spread_retries else self.pause_s_max
        return retry_pause_s(longest_s, spread_retries, was_failing, fraction)

    def record_return(self, fraction: float) -> float:
        """Record that the client is present again after an absence; return the seconds before the next call.

        All agents of a machine return when it does, and nothing else keeps them apart. Without many clients there is no
        such pause: the call is sent at once.
        """
        self.has_failed = False
        return self.spread_return_s_max * fraction


def agent_heartbeat_policy(limits: Limits) -> HeartbeatPolicy:
    """Return the policy of an agent that sends its own heartbeats."""
    return _presence(limits, limits.heartbeat_interval_s, limits.heartbeat_ttl_s, JOIN)


def daemon_heartbeat_policy(limits: Limits) -> HeartbeatPolicy:
    """Return the policy of a machine's daemon, which joins by registering."""
    return _presence(limits, limits.daemon_heartbeat_interval_s, limits.daemon_heartbeat_ttl_s, JOIN)


def retry_pause_s(longest_s: float, spread_retries: bool, was_failing: bool, fraction: float) -> float:
    """Return the seconds before a call that did not reach the server is retried: random, and at most `longest_s`.

    Where the server has reported many clients (`spread_retries`), the first pause is random and every later one is the
    longest. The first pause spreads the clients and the later ones keep them spread, so that equally many retry in each
    second, whenever the server comes back. With a new random pause each time, most would be about to retry at any
    moment.
    """
    return longest_s if spread_retries and was_failing else longest_s * fraction


def _presence(limits: Limits, interval_s: float, ttl_s: float, call: str) -> HeartbeatPolicy:
    return HeartbeatPolicy(
        interval_s=interval_s,
        ttl_s=ttl_s,
        timeout_s=limits.request_timeout_for(interval_s),
        pause_s_max=limits.retry_pause_for(interval_s),
        spread_pause_s_max=limits.retry_pause_for(interval_s, spread_retries=True),
        next_call=call,
    )


def make_long_poll_policy(limits: Limits, interval_s: float, wait_s_max: float | None = None) -> LongPollPolicy:
    """Return the policy for the long polls of a client that beats every `interval_s`, which limits each wait."""
    longest_s = limits.claim_wait_for(interval_s)
    crowd_pause_s = limits.retry_pause_for(interval_s, spread_retries=True)
    return LongPollPolicy(
        wait_s_max=longest_s if wait_s_max is None else min(longest_s, wait_s_max),
        pause_s_max=limits.retry_pause_for(interval_s),
        spread_pause_s_max=crowd_pause_s,
        spread_return_s_max=interval_s - limits.request_timeout_for(interval_s) - crowd_pause_s,
    )
