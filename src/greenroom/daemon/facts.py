"""The way of facts to the server: kept in order, posted in order, told once. Must not know what the facts mean."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from greenroom.domain.errors import GreenroomError, NotFound, Refused, Unavailable
from greenroom.domain.reliability import Reliability
from greenroom.entropy import Entropy
from greenroom.wire.requests import Fact

log = logging.getLogger("greenroom.daemon.facts")

Post = Callable[[list[Fact]], object]


class Waiting(NamedTuple):
    """A fact on its way. `told` is set when the server has it, or has refused it for good; `then` is called before."""

    fact: Fact
    told: threading.Event
    then: Callable[[], None]


class Outbox:
    """Facts that the server has not confirmed yet. A lost answer is harmless: the same fact has the same id.

    At most `facts_waiting_max` wait. Then the oldest is let go, with a line in the log: a newer sitting of its role
    tells the server the same on its own.
    """

    def __init__(
        self,
        post: Post,
        limits: Reliability,
        entropy: Entropy,
        on_forgotten: Callable[[], None],
        on_death: Callable[[], None],
    ) -> None:
        self._post = post
        self._limits = limits
        self._entropy = entropy
        self._on_forgotten = on_forgotten
        self._on_death = on_death
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._batch_size = limits.facts_per_post_max
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="facts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, fact: Fact, then: Callable[[], None] = lambda: None) -> threading.Event:
        """Send a fact on its way; when it has arrived `then` is called, short as it must be, and the event is set."""
        waiting = Waiting(fact, threading.Event(), then)
        with self._changed:
            if len(self._waiting) >= self._limits.facts_waiting_max:
                dropped = self._waiting.popleft()
                dropped.then()
                dropped.told.set()
                log.error("too many facts wait for the server; the oldest is let go: %s", dropped.fact)
            self._waiting.append(waiting)
            self._changed.notify_all()
        return waiting.told

    def close(self, timeout_s: float) -> int:
        """Deliver what waits, for at most `timeout_s`; the number of facts that could not be told."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting, timeout_s)
            return len(self._waiting)

    def _run(self) -> None:
        try:
            while self._deliver_next():
                pass
        finally:
            if not self._is_closing:
                self._on_death()

    def _deliver_next(self) -> bool:
        """Deliver one batch; False when there is nothing more to do for ever."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._is_closing)
            batch = list(self._waiting)[: self._batch_size]
        if not batch:
            return False
        try:
            self._post([waiting.fact for waiting in batch])
        except Unavailable:
            self._pause()
        except (NotFound, Refused):
            self._on_forgotten()  # registered anew, the machine may tell what it saw
            self._pause()
        except GreenroomError as error:
            if len(batch) > 1:
                self._batch_size = 1  # one of them is at fault: from now on each stands for itself
            else:
                log.error("the server refuses a fact for good, and it is let go: %s: %s", error, batch[0].fact)
                self._settle(batch)
        else:
            self._settle(batch)
        return True

    def _pause(self) -> None:
        interval_s = self._limits.daemon_heartbeat_interval_s
        threading.Event().wait(self._limits.retry_pause_for(interval_s) * self._entropy.fraction())

    def _settle(self, told: list[Waiting]) -> None:
        with self._changed:
            for waiting in told:
                if self._waiting and self._waiting[0] is waiting:
                    self._waiting.popleft()
                waiting.then()
                waiting.told.set()
            if not self._waiting:
                self._batch_size = self._limits.facts_per_post_max
            self._changed.notify_all()
