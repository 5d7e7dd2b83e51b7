"""Watches the assignments of the daemon's machine, by long polls.

Options: a poll waits up to the shorter of `assignments_wait_max_s` and `claim_wait_max_s`, and ends within
`daemon_heartbeat_interval_s`; a failed one is retried after a random pause. Metrics: none. Limits: a change that is
replaced before the next poll is never seen, since only the newest assignments are read.
"""

import logging
from collections.abc import Callable

from greenroom.client.api_client import ApiClient
from greenroom.clock import Clock
from greenroom.domain.errors import GreenroomError, Unavailable
from greenroom.domain.heartbeat_policy import make_long_poll_policy
from greenroom.domain.limits import Limits
from greenroom.entropy import Entropy
from greenroom.loop import Loop
from greenroom.wire.replies import Assignments

log = logging.getLogger("greenroom.daemon.spec_watch")


class SpecWatch:
    """A loop that reads the machine's assignments, waits for a newer version, and reads them again.

    Every answer holds all assignments, so versions that were missed during an outage do not matter. `on_rejected` is
    called when the server rejects the read, `on_failure` when the loop fails.
    """

    def __init__(
        self,
        open_session: Callable[[], ApiClient],
        machine: str,
        limits: Limits,
        clock: Clock,
        entropy: Entropy,
        on_assignments: Callable[[Assignments], None],
        on_rejected: Callable[[], None],
        on_failure: Callable[[], None],
        must_spread_retries: Callable[[], bool] = lambda: False,
    ) -> None:
        self._open_session = open_session
        self._machine = machine
        self._poll_policy = make_long_poll_policy(
            limits, limits.daemon_heartbeat_interval_s, limits.assignments_wait_max_s
        )
        self._spread_retries = must_spread_retries
        self._entropy = entropy
        self._on_assignments = on_assignments
        self._on_rejected = on_rejected
        self._session: ApiClient | None = None
        self._version: int | None = None
        self._loop = Loop("assignments", self.poll, self._poll_policy.wait_s_max, clock, log, on_failure=on_failure)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """End the watch, and drop the poll that waits."""
        self._loop.stop()
        self._drop()

    def notice_version(self, version: int) -> None:
        """Poll at once if `version`, the current one as a heartbeat reported it, is not the one that was read last.

        An older one counts too: a server that was restored from a backup counts on from there.
        """
        if version != self._version:
            self._version = None
            self._drop()

    def renew_connection(self) -> None:
        """Drop the poll that waits, since its connection may be lost; a new one is sent."""
        self._drop()

    def _drop(self) -> None:
        self._loop.wake()
        session = self._session
        if session is not None:
            session.drop()

    def poll(self) -> float:
        """Poll once, and hand a new version to `on_assignments`; the seconds until the next poll."""
        after = self._version
        session = self._session = self._session or self._open_session()
        try:
            assignments = session.assignments(self._machine, after, self._poll_policy.wait_s(self._entropy.fraction()))
        except Unavailable:
            return self._pause_s()
        except GreenroomError as error:
            log.warning("assignments not read, retrying: machine %s: %s", self._machine, error)
            session.close()
            self._session = None  # after the next registration, it has a new token
            self._on_rejected()
            return self._pause_s()
        self._poll_policy.record_answer()
        if assignments.version != after:
            self._version = assignments.version
            self._on_assignments(assignments)
        return 0.0

    def _pause_s(self) -> float:
        """A random pause, which keeps daemons from returning all at once."""
        return self._poll_policy.record_failure(self._spread_retries(), self._entropy.fraction())
