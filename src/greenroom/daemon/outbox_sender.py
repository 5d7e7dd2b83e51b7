"""The outbox sender: posts the daemon's reports in order, until the server has them.

Options: at most `reports_per_post_max` reports in one request; a failed request is retried after a random pause of at
most `retry_pause_s`. Metrics: none. Limits: a report that the server rejects for good is logged and dropped.
"""

import logging
from collections.abc import Callable

from greenroom.clock import Clock
from greenroom.daemon.outbox import Outbox
from greenroom.domain.errors import GreenroomError, NotFound, Refused, Superseded, Unavailable
from greenroom.domain.limits import Limits
from greenroom.entropy import Entropy
from greenroom.loop import Loop
from greenroom.wire.requests import AgentReport

log = logging.getLogger("greenroom.daemon.outbox_sender")

PostReports = Callable[[list[AgentReport]], object]


class OutboxSender:
    """A loop that empties the outbox. A lost answer is harmless, since a report that is sent again has the same id.

    `on_rejected` is called when the server does not accept reports of this machine, `on_failure` when the loop fails.
    """

    def __init__(
        self,
        outbox: Outbox,
        post: PostReports,
        limits: Limits,
        clock: Clock,
        entropy: Entropy,
        on_rejected: Callable[[], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._post = post
        self._limits = limits
        self._entropy = entropy
        self._on_rejected = on_rejected
        self._batch_size = limits.reports_per_post_max
        self._is_closing = False
        self._loop = Loop("reports", self._tick, limits.daemon_heartbeat_interval_s, clock, log, on_failure=on_failure)

    def start(self) -> None:
        self._loop.start()

    def close(self, timeout_s: float) -> int:
        """Send what is left, for at most `timeout_s`; the number of reports that could not be sent."""
        self._is_closing = True
        self._outbox.wake()
        self._loop.wake()
        return self._outbox.wait(lambda count: count == 0, timeout_s)

    def send_all(self, post: PostReports) -> None:
        """Send all reports by `post`. Raises Unavailable, NotFound, Refused and Superseded; then the rest stays."""
        while self._send_batch(post):
            pass

    def _tick(self) -> float | None:
        """Wait for reports and send one batch; the seconds until the next one, None when all are sent and it closes."""
        if self._outbox.wait(lambda count: count > 0 or self._is_closing) == 0:
            return None
        self._outbox.write_unsaved()
        try:
            self._send_batch(self._post)
        except Unavailable:
            return self._pause_s()
        except (NotFound, Refused, Superseded):
            # The machine has to register again, or a newer daemon runs as it: the heartbeat finds out which.
            self._on_rejected()
            return self._pause_s()
        return 0.0

    def _send_batch(self, post: PostReports) -> bool:
        """Send one batch; False when the outbox is empty."""
        batch = self._outbox.oldest(self._batch_size)
        if not batch:
            self._batch_size = self._limits.reports_per_post_max
            return False
        try:
            post(batch)
        except (Unavailable, NotFound, Refused, Superseded):
            raise
        except GreenroomError as error:
            if len(batch) > 1:
                self._batch_size = 1  # one of them is at fault: from now on, send each by itself
                return True
            log.error("report dropped: %s: the server rejected it: %s", batch[0], error)
        self._outbox.remove_confirmed(batch)
        return True

    def _pause_s(self) -> float:
        return self._limits.retry_pause_for(self._limits.daemon_heartbeat_interval_s) * self._entropy.fraction()
