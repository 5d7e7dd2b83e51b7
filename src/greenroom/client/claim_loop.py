"""The claim loop of one participant: it sends a long-polling claim, and sends it again until there is a task.

Heartbeats and the claim use different connections, and a claim can wait on a connection that was lost unnoticed. When
that may be so, the heartbeat's owner calls `renew`, and the claim is sent again once the participant is present. Where
the server has reported many clients, it is sent after a random pause: what renews one claim renews thousands.

Options: `claim_wait_max_s`, `retry_pause_s`, `request_timeout_s`, `wait_step_s`, and the interval of the heartbeats.
"""

import threading
from collections.abc import Callable

from greenroom.client.api_client import ApiClient
from greenroom.clock import Clock
from greenroom.domain.errors import RejoinRequired, Unavailable
from greenroom.domain.heartbeat_policy import make_long_poll_policy
from greenroom.domain.limits import Limits
from greenroom.entropy import Entropy
from greenroom.wire.replies import ClaimedTask

DROP_EVERY_S = 0.02
DROPS_MAX = 500


class ClaimLoop:
    """Claims the next task of a role. `session` must be used for nothing else: `renew` drops its call in flight."""

    def __init__(
        self,
        session: ApiClient,
        room: str,
        role: str,
        connection_id: str,
        is_present: Callable[[], bool],
        on_absent: Callable[[], None],
        clock: Clock,
        entropy: Entropy,
        *,
        detached: bool = False,
        limits: Limits | None = None,
        interval_s: float | None = None,
        ttl_s: float | None = None,
        spread_retries: Callable[[], bool] = lambda: False,
    ) -> None:
        limits = limits or session.limits
        self._session = session
        self.room, self._role, self._connection_id = room, role, connection_id
        self._is_present = is_present
        self._on_seat_lost = on_absent
        self._clock = clock
        self._entropy = entropy
        self._detached = detached
        interval_s = interval_s or limits.heartbeat_interval_s
        self._ttl_s = ttl_s or limits.heartbeat_ttl_s
        self._standing = make_long_poll_policy(limits, interval_s)
        self._spread_retries = spread_retries
        self._step_s = limits.wait_step_s
        self._wakeup = threading.Event()
        self._is_ended = False
        self._is_idle = threading.Event()
        self._is_idle.set()

    def renew(self) -> None:
        """Drop the current claim, from another thread; a new one is sent as soon as the participant is present."""
        self._wakeup.set()
        self._session.drop()

    def stop(self) -> None:
        """Drop the claim and send no more, from another thread: `next_task` returns None. Does not wait."""
        self._is_ended = True
        self.renew()
        if not self._is_idle.is_set():
            threading.Thread(target=self._drop_until_idle, name="dropping", daemon=True).start()

    def _drop_until_idle(self) -> None:
        """Drop the claim until it has ended: one that is just about to be sent cannot be dropped yet."""
        for _ in range(DROPS_MAX):
            if self._is_idle.wait(DROP_EVERY_S):
                return
            self.renew()

    def next_task(self, timeout_s: float | None = None) -> ClaimedTask | None:
        """Wait for the next task; return None when `timeout_s` is over or the claim was ended.

        An unreachable server is retried until then. Raises Superseded, or any other refusal of the server.
        """
        ends_at = None if timeout_s is None else self._clock.boottime() + timeout_s
        has_claimed = was_away = False
        while not self._is_ended:
            left_s = self._standing.wait_s_max if ends_at is None else ends_at - self._clock.boottime()
            if left_s <= 0 and (has_claimed or not self._is_present()):
                return None
            # Cleared before `is_present` is read: a change after that ends the wait.
            self._wakeup.clear()
            if not self._is_present():
                self._wakeup.wait(max(0.0, min(left_s, self._step_s)))
                was_away = True
                continue
            if was_away and self._spread_retries():
                was_away = False
                self._pause_fully(self._standing.record_return(self._entropy.fraction()), ends_at)
                continue
            was_away = False
            sent_at = self._clock.boottime()
            task = self._claim_unless_ended(
                max(0.0, min(left_s, self._standing.wait_s(self._entropy.fraction()))), ends_at
            )
            has_claimed = True
            # An answer that stayed in its socket while the machine slept must not start a run. The next claim shows
            # whether the task is still this participant's.
            if task is not None and self._clock.boottime() - sent_at < self._ttl_s:
                return task
        return None

    def _claim_unless_ended(self, wait_s: float, ends_at: float | None) -> ClaimedTask | None:
        self._is_idle.clear()
        try:
            return None if self._is_ended else self._send_claim(wait_s, ends_at)
        finally:
            self._is_idle.set()

    def _send_claim(self, wait_s: float, ends_at: float | None) -> ClaimedTask | None:
        try:
            task = self._session.claim(self.room, self._role, self._connection_id, wait_s, self._detached)
        except RejoinRequired:
            self._on_seat_lost()
            self._pause(self._standing.pause_s_max * self._entropy.fraction())
        except Unavailable:
            spread_retries = self._spread_retries()
            pause_s = self._standing.record_failure(spread_retries, self._entropy.fraction())
            if spread_retries:
                self._pause_fully(pause_s, ends_at)
            else:
                self._pause(pause_s)
        else:
            self._standing.record_answer()
            return task
        return None

    def _pause(self, pause_s: float) -> None:
        """Wait for `pause_s`, or until `renew` or `stop` is called."""
        if not self._is_ended:
            self._wakeup.wait(pause_s)

    def _pause_fully(self, pause_s: float, ends_at: float | None) -> None:
        """Wait for `pause_s`, or until the claim ends or `ends_at` comes.

        `renew` does not shorten it: a recovered presence renews the claims of all clients at once.
        """
        until = self._clock.boottime() + pause_s
        if ends_at is not None:
            until = min(until, ends_at)
        while not self._is_ended and (left_s := until - self._clock.boottime()) > 0:
            self._wakeup.wait(min(left_s, self._step_s))
            self._wakeup.clear()
