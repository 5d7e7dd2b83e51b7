"""Runs loops: rounds of one function, on a thread or an event loop, with their health; tunes the garbage collector.

Options of a loop: `period_s`, after which a failed round is retried, and `late_after_min_s`.
Metrics, per loop of the server: `greenroom_loop_age_seconds` (`LoopHealth.age_s`) and `greenroom_loop_failures_total`
(`LoopHealth.failures`).
Log lines: `loop started: NAME`, `loop round failed: NAME: CAUSE`, and `loop stopped: NAME` unless a failure ended it.
Limits: the age is measured by the monotonic clock, so the time that the machine sleeps does not make a loop late. A
round that does not return can be neither interrupted nor replaced; it only makes its loop late.
"""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from greenroom.clock import Clock

GC_THRESHOLDS = (10_000, 10, 100)
"""New objects, young and middle collections after which Python's cycle collector takes the next older generation."""

Tick = Callable[[], float | None]
"""One round of a loop; the seconds until the next one, or None when the loop ends."""


class LoopLog(Protocol):
    """A logger of `logging`. This module does not load that module: an agent's command waits without it."""

    def info(self, message: str, /, *values: object) -> None: ...
    def error(self, message: str, /, *values: object, exc_info: bool = ...) -> None: ...


class LoopHealth:
    """Health of one loop: when it last finished a round, and how many of its rounds raised.

    The loop is late when that is longer ago than twice its `period_s` and longer ago than `late_after_min_s`.
    """

    def __init__(self, name: str, period_s: float, clock: Clock, late_after_min_s: float = 15.0) -> None:
        self.name = name
        self.period_s = period_s
        self.late_after_s = max(2 * period_s, late_after_min_s)
        self.failures = 0
        self._clock = clock
        self._finished_at = clock.monotonic()

    def record_round(self) -> None:
        """Record that a round has just finished."""
        self._finished_at = self._clock.monotonic()

    def age_s(self) -> float:
        """Return the seconds since the last finished round, or since the start."""
        return self._clock.monotonic() - self._finished_at

    def is_late(self) -> bool:
        """Return whether the last finished round is longer ago than `late_after_s`."""
        return self.age_s() > self.late_after_s


class Loop(LoopHealth):
    """Runs `tick` again and again: on a thread of its own (`start`), or as an event loop iterates (`rounds`).

    A round that raises is logged and counted, and the next one comes after `period_s`. With `on_failure`, it ends the
    loop instead: `on_failure` is called, and the error is raised where the loop runs. `check` is called before each
    round, and what it raises always ends the loop.
    """

    def __init__(
        self,
        name: str,
        tick: Tick,
        period_s: float,
        clock: Clock,
        log: LoopLog | None = None,
        *,
        late_after_min_s: float = 15.0,
        check: Callable[[], None] | None = None,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name, period_s, clock, late_after_min_s)
        self.is_stopping = False
        self._tick = tick
        self._log = log
        self._check = check
        self._on_failure = on_failure
        self._wakeup = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run on a thread of its own, from now on; its first round comes at once."""
        self._thread = threading.Thread(target=self._run_on_thread, name=self.name, daemon=True)
        self._thread.start()

    def rounds(self) -> Iterator[float]:
        """Run rounds until `stop`, or until one ends the loop; yield the seconds to wait after each.

        `start` does this on a thread; on an event loop, iterate over it and await between the rounds.
        """
        self._log_line("started")
        while not self.is_stopping:
            self._wakeup.clear()  # before the round, so that a wake-up during it is not lost
            pause_s = self.run_round()
            if pause_s is None:
                break
            yield pause_s
        self._log_line("stopped")

    def wake(self) -> None:
        """Have the next round come at once, also if one is running. From any thread, for a loop on a thread."""
        self._wakeup.set()

    def stop(self, timeout_s: float | None = 0.0) -> bool:
        """Begin no more rounds. Wait at most `timeout_s` (None: no limit) for the thread; True if none is running.

        From any thread. On the loop's own thread it does not wait.
        """
        self.is_stopping = True
        self._wakeup.set()
        thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        if timeout_s != 0 and thread is not threading.current_thread():
            thread.join(timeout_s)
        return not thread.is_alive()

    def run_round(self) -> float | None:
        """Run one round; the seconds until the next one, or None when the loop ends."""
        if self._check is not None:
            self._check()
        try:
            pause_s = self._tick()
        except Exception as error:
            self.failures += 1
            if self._log is not None:
                self._log.error("loop round failed: %s: %r", self.name, error, exc_info=self._on_failure is None)
            if self._on_failure is not None:
                raise
            return self.period_s
        self.record_round()
        return pause_s

    def _run_on_thread(self) -> None:
        try:
            for pause_s in self.rounds():
                if not self.is_stopping:
                    self._wakeup.wait(pause_s)
        except BaseException:
            if self._on_failure is not None and not self.is_stopping:
                self._on_failure()
            raise

    def _log_line(self, event: str) -> None:
        if self._log is not None:
            self._log.info("loop %s: %s", event, self.name)


def freeze_garbage_collector() -> None:
    """Exclude all present objects from garbage collection, and make full collections rare.

    A full collection of a server's libraries alone would take tens of milliseconds, one of ten thousand waiting claims
    a second, and no heartbeat is answered meanwhile. The few reference cycles that a request leaves behind are found by
    collections of the youngest generation.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
