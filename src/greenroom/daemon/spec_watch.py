"""Watches the assignments of the daemon's machine, by long polls.

Options: a poll waits up to the shorter of `assignments_wait_max_s` and `claim_wait_max_s`, and ends within
`daemon_heartbeat_interval_s`; a failed one is retried after a random pause. Metrics: none. Limits: a change that is
replaced before the next poll is never seen, since only the newest assignments are read.
"""

import logging
import threading
from collections.abc import Callable

from greenroom.client.api_client import ApiClient
from greenroom.domain.errors import GreenroomError, Unavailable
from greenroom.domain.heartbeat_policy import make_long_poll_policy
from greenroom.domain.limits import Limits
from greenroom.entropy import Entropy
from greenroom.wire.replies import Assignments

log = logging.getLogger("greenroom.daemon.spec_watch")


class SpecWatch:
    """A thread that reads the machine's assignments, waits for a newer version, and reads them again.

    Every answer holds all assignments, so versions that were missed during an outage do not matter. `on_rejected` is
    called when the server rejects the read, `on_failure` when the thread fails.
    """

    def __init__(
        self,
        open_session: Callable[[], ApiClient],
        machine: str,
        limits: Limits,
        entropy: Entropy,
        on_assignments: Callable[[Assignments], None],
        on_rejected: Callable[[], None],
        on_failure: Callable[[], None],
        must_spread_retries: Callable[[], bool] = lambda: False,
    ) -> None:
        self._open_session = open_session
        self._machine = machine
        self._standing = make_long_poll_policy(
            limits, limits.daemon_heartbeat_interval_s, limits.assignments_wait_max_s
        )
        self._spread_retries = must_spread_retries
        self._entropy = entropy
        self._on_assignments = on_assignments
        self._on_forgotten = on_rejected
        self._on_failure = on_failure
        self._session: ApiClient | None = None
        self._version: int | None = None
        self._wakeup = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="assignments", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the watch, and drop the poll that waits."""
        self._is_stopped = True
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
        self._wakeup.set()
        session = self._session
        if session is not None:
            session.drop()

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._wakeup.clear()
                self.poll()
        finally:
            if not self._is_stopped:
                self._on_failure()

    def poll(self) -> None:
        """Poll once, and hand a new version to `on_assignments`."""
        after = self._version
        session = self._session = self._session or self._open_session()
        try:
            assignments = session.assignments(self._machine, after, self._standing.wait_s(self._entropy.fraction()))
        except Unavailable:
            self._pause()
        except GreenroomError as error:
            log.warning("assignments not read, retrying: machine %s: %s", self._machine, error)
            session.close()
            self._session = None  # after the next registration, it has a new token
            self._on_forgotten()
            self._pause()
        else:
            self._standing.record_answer()
            if assignments.version != after:
                self._version = assignments.version
                self._on_assignments(assignments)

    def _pause(self) -> None:
        """Wait for a random pause, or until `notice_version` or `renew_connection` is called.

        The pause keeps daemons from returning all at once.
        """
        self._wakeup.wait(self._standing.record_failure(self._spread_retries(), self._entropy.fraction()))
