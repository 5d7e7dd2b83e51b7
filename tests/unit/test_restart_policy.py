from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.domain.limits import DEFAULT_LIMITS, Limits
from greenroom.domain.restart_policy import (
    BACKING_OFF,
    CRASH_LOOPING,
    FINISH,
    JOIN,
    KEEP,
    PAUSED,
    REASON_CHARACTERS_MAX,
    STOP,
    WAIT,
    RestartHistory,
    RestartStep,
    decide_step,
    history_of_generation,
    record_failed_start,
    record_failure,
    record_pause,
    record_success,
    record_yield,
)

NEW = RestartHistory(generation=2)
BACKED_OFF = RestartHistory(
    generation=2, failures=(80.0, 90.0), consecutive=2, last_failure_at=90.0, hold=BACKING_OFF, hold_until=110.0
)
CRASH_LOOPED = RestartHistory(
    generation=2, failures=(80.0, 90.0, 95.0), hold=CRASH_LOOPING, hold_until=395.0, reason="3 ends"
)
PROBE_FAILED = RestartHistory(generation=2, hold=CRASH_LOOPING, reason="its probe run failed too")
LOGGED_OUT = record_pause(NEW, 2, 99.0, None, "the login is missing")
RULES = [
    # desired, desired generation, held generation, history, action
    (False, 2, None, RestartHistory(), KEEP),
    (True, 2, None, RestartHistory(), JOIN),
    (True, 2, 2, RestartHistory(), KEEP),
    (False, 2, 2, RestartHistory(), STOP),
    (True, 3, 2, RestartHistory(), STOP),
    (False, 3, 2, BACKED_OFF, STOP),
    (True, 2, None, BACKED_OFF, WAIT),
    (False, 2, None, BACKED_OFF, KEEP),
    (True, 3, None, BACKED_OFF, JOIN),  # a new generation does not wait for the hold of the old one
    (True, 2, None, record_yield(NEW, 2, 99.0, DEFAULT_LIMITS), WAIT),
    (True, 2, None, record_yield(NEW, 2, 50.0, DEFAULT_LIMITS), JOIN),
    (True, 3, None, record_yield(NEW, 2, 99.0, DEFAULT_LIMITS), JOIN),
    (True, 2, 2, BACKED_OFF, KEEP),
    (True, 2, None, CRASH_LOOPED, WAIT),
    (True, 3, None, CRASH_LOOPED, JOIN),
    (True, 2, 2, CRASH_LOOPED, KEEP),  # the probe run
    (True, 2, None, PROBE_FAILED, WAIT),
    (False, 2, None, PROBE_FAILED, KEEP),
    (True, 3, None, PROBE_FAILED, JOIN),
    (True, 2, None, LOGGED_OUT, WAIT),
    (True, 3, None, LOGGED_OUT, JOIN),
    (True, 2, None, record_pause(NEW, 2, 99.0, 101.0, "too many requests"), WAIT),
    (True, 2, None, record_pause(NEW, 2, 99.0, 100.0, "too many requests"), JOIN),
]


def fail(history: RestartHistory, *instants: float, limits: Limits = DEFAULT_LIMITS) -> RestartHistory:
    for at in instants:
        history = record_failure(history, 2, at, 0.5, limits, "exit code 3")
    return history


@pytest.mark.parametrize(("desired", "desired_generation", "held_generation", "history", "action"), RULES)
def test_decision_table(
    desired: bool, desired_generation: int, held_generation: int | None, history: RestartHistory, action: str
) -> None:
    assert decide_step(desired, desired_generation, held_generation, history, 100.0).action == action


@pytest.mark.parametrize(
    ("held", "run_generation", "action"),
    [(4, 4, FINISH), (4, 3, FINISH), (4, 5, STOP), (4, 6, STOP), (4, None, STOP), (6, 4, KEEP), (7, 4, STOP)],
)
def test_run_of_earlier_generation_is_finished(held: int, run_generation: int | None, action: str) -> None:
    assert action == decide_step(True, 6, held, RestartHistory(), 100.0, run_generation).action
    assert STOP == decide_step(False, 6, held, RestartHistory(), 100.0, run_generation).action


@pytest.mark.parametrize(
    ("history", "reason", "until"),
    [
        (fail(NEW, 100.0), "backing off: 1 failure: exit code 3", 101.5),
        (fail(NEW, 98.0, 100.0), "backing off: 2 failures in a row, the last: exit code 3", 102.5),
        (
            fail(NEW, 98.0, 99.0, 100.0),
            "crash-looping, one probe run follows: 3 failures within 300 s, the last: exit code 3",
            400.0,
        ),
        (PROBE_FAILED, "crash-looping until a user starts it again: its probe run failed too", None),
        (LOGGED_OUT, "paused until a user starts it again: the login is missing", None),
        (record_pause(NEW, 2, 99.0, 160.0, "too many requests"), "paused: too many requests", 160.0),
        (
            record_yield(NEW, 2, 100.0, DEFAULT_LIMITS),
            "another agent has the role; this one joins again when the role is vacant",
            130.0,
        ),
        (
            record_failed_start(NEW, 2, 100.0, 0.0, DEFAULT_LIMITS, "There is no program x."),
            "backing off: could not start: There is no program x.",
            101.0,
        ),
    ],
)
def test_wait_has_end_or_needs_user(history: RestartHistory, reason: str, until: float | None) -> None:
    """A role that neither runs nor waits for an instant or a user would be "starting" for ever."""
    assert decide_step(True, 2, None, history, 100.0) == RestartStep(WAIT, reason, until)
    if until is not None:
        assert decide_step(True, 2, None, history, until).action == JOIN


def test_backoff_doubles_up_to_maximum() -> None:
    no_crash_loop = Limits(crash_loop_after_failures=1000)
    history, longest = NEW, []
    for _ in range(12):
        history = record_failure(history, 2, 0.0, 1.0, no_crash_loop, "")
        assert history.hold_until is not None
        longest.append(history.hold_until)
    assert longest[:4] == [2.0, 4.0, 8.0, 16.0]
    assert longest[-1] == DEFAULT_LIMITS.restart_backoff_s_max


@given(consecutive=st.integers(0, 10_000), fraction=st.floats(0, 1, exclude_max=True))
def test_backoff_stays_in_bounds(consecutive: int, fraction: float) -> None:
    history = RestartHistory(generation=2, consecutive=consecutive, last_failure_at=0.0)
    for record in (record_failure, record_failed_start):
        until = record(history, 2, 0.0, fraction, DEFAULT_LIMITS, "").hold_until
        assert until is not None
        assert DEFAULT_LIMITS.restart_backoff_s_min <= until <= DEFAULT_LIMITS.restart_backoff_s_max


def test_third_failure_in_window_is_crash_loop() -> None:
    assert fail(NEW, 0.0, 100.0, 299.0) == RestartHistory(
        generation=2,
        failures=(0.0, 100.0, 299.0),
        consecutive=3,
        last_failure_at=299.0,
        hold=CRASH_LOOPING,
        hold_until=599.0,
        reason="3 failures within 300 s, the last: exit code 3",
    )
    assert fail(NEW, 0.0, 100.0, 300.0).hold == BACKING_OFF, "the first failure is outside the window"


def test_success_resets_backoff_but_not_window() -> None:
    """If it cleared the window, an agent that fails at every other task would be restarted all day."""
    history = record_success(fail(NEW, 0.0, 1.0), 2)
    assert (history.consecutive, history.failures, history.hold) == (0, (0.0, 1.0), None)
    assert fail(history, 2.0).is_probe_run


def test_successful_probe_run_recovers() -> None:
    history = fail(NEW, 0.0, 1.0, 2.0)
    assert decide_step(True, 2, None, history, 302.0) == RestartStep(JOIN, "crash-looping; this is the probe run")
    assert history.is_probe_run
    assert record_success(history, 2) == NEW


def test_failed_probe_run_waits_for_user() -> None:
    history = fail(NEW, 0.0, 1.0, 2.0, 302.0)
    assert history.is_probe_run
    assert history.needs_user
    assert history.reason == "its probe run failed too: exit code 3"
    assert decide_step(True, 2, None, history, 1e9).action == WAIT
    assert decide_step(True, 3, None, history, 303.0).action == JOIN
    assert not history_of_generation(history, 3).is_probe_run


def test_failed_start_backs_off_without_crash_loop() -> None:
    history = NEW
    for at in range(100):
        history = record_failed_start(history, 2, float(at), 0.99, DEFAULT_LIMITS, "There is no program x.")
    assert history.failures == ()
    assert not history.is_probe_run
    assert history.hold_until is not None
    assert history.hold_until > 99.0 + 200.0


@pytest.mark.parametrize(
    "interrupt",
    [
        lambda history: record_failed_start(history, 2, 302.0, 0.5, DEFAULT_LIMITS, "the disk is full"),
        lambda history: record_pause(history, 2, 302.0, 400.0, "too many requests"),
        lambda history: record_yield(history, 2, 302.0, DEFAULT_LIMITS),
    ],
)
def test_interrupted_probe_run_is_still_owed(interrupt: Callable[[RestartHistory], RestartHistory]) -> None:
    history = interrupt(fail(NEW, 0.0, 1.0, 2.0))
    assert history.is_probe_run
    assert not history.needs_user
    assert "probe run" in decide_step(True, 2, None, history, 1000.0).reason
    assert fail(history, 1000.0).needs_user
    assert record_success(history, 2) == NEW


@pytest.mark.parametrize("history", [PROBE_FAILED, LOGGED_OUT])
def test_hold_for_user_is_kept(history: RestartHistory) -> None:
    assert fail(history, 500.0) == history
    assert record_failed_start(history, 2, 500.0, 0.5, DEFAULT_LIMITS, "") == history
    assert record_pause(history, 2, 500.0, 501.0, "") == history
    assert record_yield(history, 2, 500.0, DEFAULT_LIMITS) == history


def test_pause_is_no_failure_and_may_be_over() -> None:
    history = record_pause(fail(NEW, 0.0), 2, 10.0, 5.0, "too many requests")
    assert (history.hold, history.failures, history.hold_until) == (PAUSED, (0.0,), 10.0)
    assert decide_step(True, 2, None, history, 10.0).action == JOIN


def test_reset_time_and_new_generation_clear_count() -> None:
    history = fail(NEW, 0.0, 10.0)
    assert history.consecutive == 2
    assert fail(history, 10.0 + DEFAULT_LIMITS.restart_reset_s).consecutive == 1
    assert record_failure(history, 3, 11.0, 0.5, DEFAULT_LIMITS, "").failures == (11.0,)
    assert history_of_generation(history, 2) is history
    assert history_of_generation(history, 3) == RestartHistory(generation=3)


@given(
    failures=st.lists(st.floats(0, 1e6), max_size=5),
    hold=st.sampled_from([None, BACKING_OFF, CRASH_LOOPING, PAUSED]),
    hold_until=st.none() | st.floats(0, 1e6),
    now=st.floats(0, 1e6),
)
def test_agent_running_as_desired_is_kept(
    failures: list[float], hold: str | None, hold_until: float | None, now: float
) -> None:
    """A policy that counts an hour without output as a failure would stop the agents that work longest."""
    history = RestartHistory(generation=2, failures=tuple(failures), hold=hold, hold_until=hold_until)
    assert decide_step(True, 2, 2, history, now) == RestartStep(KEEP, "runs as desired")


def test_reason_is_one_short_line() -> None:
    reason = record_failure(NEW, 2, 0.0, 0.5, DEFAULT_LIMITS, "exit code 3\nTraceback ...\n").reason
    assert reason == "1 failure: exit code 3"
    assert len(record_pause(NEW, 2, 0.0, None, "x" * 5000).reason) == REASON_CHARACTERS_MAX
    assert record_pause(NEW, 2, 0.0, None, "no file \udcff").reason == "no file ?"
    assert record_pause(NEW, 2, 0.0, None, " \n").reason == "no reason was given"
