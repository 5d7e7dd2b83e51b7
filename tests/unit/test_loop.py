import logging
import threading
from collections.abc import Callable

import pytest

from greenroom.loop import Loop, LoopHealth
from greenroom.testing import MovedClock
from tests.waiting import PATIENCE_S

NEVER_S = 10 * PATIENCE_S
"""A pause that only a wake-up or a stop can end within a test."""

log = logging.getLogger("greenroom.test")


def make_loop(tick: Callable[[], float | None], period_s: float = 1.0, clock: MovedClock | None = None) -> Loop:
    return Loop("test", tick, period_s, clock or MovedClock(), log)


def break_down() -> float:
    raise ZeroDivisionError("it is broken")


def test_health_follows_the_clock() -> None:
    clock = MovedClock()
    health = LoopHealth("test", 10.0, clock)
    clock.advance(20.0)
    assert (20.0, False) == (health.age_s(), health.is_late())
    clock.advance(0.5)
    assert health.is_late()
    health.record_round()
    assert (0.0, False) == (health.age_s(), health.is_late())


def test_lateness_has_a_minimum() -> None:
    clock = MovedClock()
    health = LoopHealth("test", 1.0, clock, late_after_min_s=15.0)
    clock.advance(15.0)
    assert not health.is_late()
    clock.advance(0.5)
    assert health.is_late()


def test_round_is_recorded_and_gives_next_pause() -> None:
    clock = MovedClock()
    loop = make_loop(lambda: 2.5, clock=clock)
    clock.advance(100.0)
    assert loop.run_round() == 2.5
    assert (0, 0.0) == (loop.failures, loop.age_s())


def test_failed_round_is_logged_counted_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    clock = MovedClock()
    loop = make_loop(break_down, period_s=3.0, clock=clock)
    clock.advance(7.0)
    assert loop.run_round() == 3.0
    assert (1, 7.0) == (loop.failures, loop.age_s()), "a failed round is not a finished one"
    assert caplog.messages == ["loop round failed: test: ZeroDivisionError('it is broken')"]
    assert "break_down" in caplog.text, "the log has the traceback"


def test_start_and_stop_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    loop = make_loop(lambda: None)
    with caplog.at_level(logging.INFO):
        assert list(loop.rounds()) == []
    assert caplog.messages == ["loop started: test", "loop stopped: test"]


def test_rounds_go_on_after_failure_until_none() -> None:
    pauses: list[Callable[[], float | None]] = [lambda: 0.5, break_down, lambda: None, lambda: 9.0]
    loop = make_loop(lambda: pauses.pop(0)(), period_s=3.0)
    assert list(loop.rounds()) == [0.5, 3.0]


def test_failed_check_ends_loop_without_a_round() -> None:
    rounds: list[None] = []

    def check() -> None:
        break_down()

    loop = Loop("test", lambda: rounds.append(None), 1.0, MovedClock(), check=check)
    with pytest.raises(ZeroDivisionError):
        next(loop.rounds())
    assert (rounds, loop.failures) == ([], 0)


def test_stop_ends_wait_and_waits_for_thread() -> None:
    has_run = threading.Event()
    thread_names: list[str] = []

    def tick() -> float:
        thread_names.append(threading.current_thread().name)
        has_run.set()
        return NEVER_S

    loop = make_loop(tick)
    loop.start()
    assert has_run.wait(PATIENCE_S)
    assert loop.stop(PATIENCE_S)
    assert thread_names == ["test"]


def test_stop_of_busy_loop_returns_in_time() -> None:
    is_busy, may_end = threading.Event(), threading.Event()

    def tick() -> float:
        is_busy.set()
        may_end.wait(PATIENCE_S)
        return NEVER_S

    loop = make_loop(tick)
    loop.start()
    assert is_busy.wait(PATIENCE_S)
    assert not loop.stop(0.01)
    may_end.set()
    assert loop.stop(timeout_s=None)


def test_loop_can_stop_itself() -> None:
    loop = make_loop(lambda: 0.0 if loop.stop(PATIENCE_S) else NEVER_S)
    loop.start()
    assert loop.stop(PATIENCE_S)


def test_stop_of_loop_that_never_ran() -> None:
    loop = make_loop(lambda: NEVER_S)
    assert loop.stop(PATIENCE_S)
    assert list(loop.rounds()) == []


def test_wake_during_round_is_not_lost() -> None:
    rounds: list[None] = []
    has_run_twice = threading.Event()

    def tick() -> float:
        rounds.append(None)
        if len(rounds) == 1:
            loop.wake()
        else:
            has_run_twice.set()
        return NEVER_S

    loop = make_loop(tick)
    loop.start()
    assert has_run_twice.wait(PATIENCE_S)
    assert loop.stop(PATIENCE_S)


@pytest.mark.parametrize("is_stopping", [False, True])
def test_failure_ends_thread_and_is_reported_unless_stopping(
    is_stopping: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[type[BaseException]] = []
    failures: list[None] = []

    def tick() -> float:
        if is_stopping:
            loop.stop()
        return break_down()

    monkeypatch.setattr(threading, "excepthook", lambda arguments: errors.append(arguments.exc_type))
    loop = Loop("test", tick, 0.0, MovedClock(), log, on_failure=lambda: failures.append(None))
    with caplog.at_level(logging.INFO):
        loop.start()
        assert loop._thread is not None
        loop._thread.join(PATIENCE_S)
    assert (errors, len(failures), loop.failures) == ([ZeroDivisionError], 0 if is_stopping else 1, 1)
    assert caplog.messages == ["loop started: test", "loop round failed: test: ZeroDivisionError('it is broken')"]
