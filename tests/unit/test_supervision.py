from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.domain.reliability import DEFAULTS, Reliability
from greenroom.domain.supervision import (
    BACKING_OFF,
    KEEP,
    PARKED,
    PAUSED,
    REASON_CHARACTERS_MAX,
    SIT,
    STOP,
    WAIT,
    History,
    Step,
    decide,
    ended,
    hindered,
    paused,
    succeeded,
    under,
    yielded,
)

NEW = History(generation=2)
RESTING = History(generation=2, ends=(80.0, 90.0), in_a_row=2, last_end_at=90.0, rest=BACKING_OFF, rests_until=110.0)
TIRED = History(generation=2, ends=(80.0, 90.0, 95.0), rest=PARKED, rests_until=395.0, reason="3 ends")
DONE_FOR = History(generation=2, rest=PARKED, reason="its run on trial ended too")
LOGGED_OUT = paused(NEW, 2, 99.0, None, "nobody is logged in")
RULES = [
    # desired, wished, seated, history, action
    (False, 2, None, History(), KEEP),
    (True, 2, None, History(), SIT),
    (True, 2, 2, History(), KEEP),
    (False, 2, 2, History(), STOP),
    (True, 3, 2, History(), STOP),
    (False, 3, 2, RESTING, STOP),
    (True, 2, None, RESTING, WAIT),
    (False, 2, None, RESTING, KEEP),
    (True, 3, None, RESTING, SIT),  # a new generation does not wait for the hold of the old one
    (True, 2, None, yielded(NEW, 2, 99.0, DEFAULTS), WAIT),
    (True, 2, None, yielded(NEW, 2, 50.0, DEFAULTS), SIT),
    (True, 3, None, yielded(NEW, 2, 99.0, DEFAULTS), SIT),
    (True, 2, 2, RESTING, KEEP),
    (True, 2, None, TIRED, WAIT),
    (True, 3, None, TIRED, SIT),
    (True, 2, 2, TIRED, KEEP),  # the probe run
    (True, 2, None, DONE_FOR, WAIT),
    (False, 2, None, DONE_FOR, KEEP),
    (True, 3, None, DONE_FOR, SIT),
    (True, 2, None, LOGGED_OUT, WAIT),
    (True, 3, None, LOGGED_OUT, SIT),
    (True, 2, None, paused(NEW, 2, 99.0, 101.0, "too many requests"), WAIT),
    (True, 2, None, paused(NEW, 2, 99.0, 100.0, "too many requests"), SIT),
]


def die(history: History, *instants: float, limits: Reliability = DEFAULTS) -> History:
    for at in instants:
        history = ended(history, 2, at, 0.5, limits, "exit code 3")
    return history


@pytest.mark.parametrize(("desired", "wished", "seated", "history", "action"), RULES)
def test_the_rules(desired: bool, wished: int, seated: int | None, history: History, action: str) -> None:
    assert decide(desired, wished, seated, history, 100.0).action == action


@pytest.mark.parametrize(
    ("history", "said", "until"),
    [
        (die(NEW, 100.0), "backing off: an unintended end: exit code 3", 101.5),
        (die(NEW, 98.0, 100.0), "backing off: 2 unintended ends in a row, the last: exit code 3", 102.5),
        (
            die(NEW, 98.0, 99.0, 100.0),
            "parked, with one run on trial to come: 3 unintended ends within 300 s, the last: exit code 3",
            400.0,
        ),
        (DONE_FOR, "parked until a person starts it again: its run on trial ended too", None),
        (LOGGED_OUT, "paused until a person starts it again: nobody is logged in", None),
        (paused(NEW, 2, 99.0, 160.0, "too many requests"), "paused: too many requests", 160.0),
        (yielded(NEW, 2, 100.0, DEFAULTS), "somebody else has the role; it is taken again when it is vacant", 130.0),
        (
            hindered(NEW, 2, 100.0, 0.0, DEFAULTS, "There is no program x."),
            "backing off: nothing could be run: There is no program x.",
            101.0,
        ),
    ],
)
def test_a_wait_has_an_end_or_is_for_a_person_and_says_why(history: History, said: str, until: float | None) -> None:
    """A role that neither runs nor waits for an instant or a user would be "starting" for ever."""
    assert decide(True, 2, None, history, 100.0) == Step(WAIT, said, until)
    if until is not None:
        assert decide(True, 2, None, history, until).action == SIT


def test_a_pause_doubles_up_to_the_longest() -> None:
    never_parks = Reliability(park_after_ends=1000)
    history, longest = NEW, []
    for _ in range(12):
        history = ended(history, 2, 0.0, 1.0, never_parks, "")
        assert history.rests_until is not None
        longest.append(history.rests_until)
    assert longest[:4] == [2.0, 4.0, 8.0, 16.0]
    assert longest[-1] == DEFAULTS.restart_pause_s_max


@given(in_a_row=st.integers(0, 10_000), fraction=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_outside_its_bounds(in_a_row: int, fraction: float) -> None:
    history = History(generation=2, in_a_row=in_a_row, last_end_at=0.0)
    for take_down in (ended, hindered):
        until = take_down(history, 2, 0.0, fraction, DEFAULTS, "").rests_until
        assert until is not None
        assert DEFAULTS.restart_pause_s_min <= until <= DEFAULTS.restart_pause_s_max


def test_the_third_end_within_the_window_parks() -> None:
    assert die(NEW, 0.0, 100.0, 299.0) == History(
        generation=2,
        ends=(0.0, 100.0, 299.0),
        in_a_row=3,
        last_end_at=299.0,
        rest=PARKED,
        rests_until=599.0,
        reason="3 unintended ends within 300 s, the last: exit code 3",
    )
    assert die(NEW, 0.0, 100.0, 300.0).rest == BACKING_OFF, "the first failure is outside the window"


def test_a_success_in_between_lets_the_pauses_begin_anew_but_does_not_clear_the_window() -> None:
    """If it cleared the window, an agent that fails at every other task would be restarted all day."""
    better = succeeded(die(NEW, 0.0, 1.0), 2)
    assert (better.in_a_row, better.ends, better.rest) == (0, (0.0, 1.0), None)
    assert die(better, 2.0).is_parked


def test_a_trial_that_succeeds_unparks() -> None:
    tried = die(NEW, 0.0, 1.0, 2.0)
    assert decide(True, 2, None, tried, 302.0) == Step(SIT, "parked before, it gets one run on trial")
    assert tried.is_parked
    assert succeeded(tried, 2) == NEW


def test_a_trial_that_fails_waits_for_a_person_however_long() -> None:
    tried = die(NEW, 0.0, 1.0, 2.0, 302.0)
    assert tried.is_parked
    assert tried.needs_person
    assert tried.reason == "its run on trial ended too: exit code 3"
    assert decide(True, 2, None, tried, 1e9).action == WAIT
    assert decide(True, 3, None, tried, 303.0).action == SIT
    assert not under(tried, 3).is_parked


def test_what_cannot_be_run_backs_off_more_and_more_and_never_parks() -> None:
    history = NEW
    for at in range(100):
        history = hindered(history, 2, float(at), 0.99, DEFAULTS, "There is no program x.")
    assert history.ends == ()
    assert not history.is_parked
    assert history.rests_until is not None
    assert history.rests_until > 99.0 + 200.0


@pytest.mark.parametrize(
    "interrupt",
    [
        lambda history: hindered(history, 2, 302.0, 0.5, DEFAULTS, "the disk is full"),
        lambda history: paused(history, 2, 302.0, 400.0, "too many requests"),
        lambda history: yielded(history, 2, 302.0, DEFAULTS),
    ],
)
def test_a_trial_that_came_to_nothing_is_still_owed(interrupt: Callable[[History], History]) -> None:
    waits = interrupt(die(NEW, 0.0, 1.0, 2.0))
    assert waits.is_parked
    assert not waits.needs_person
    assert "on trial" in decide(True, 2, None, waits, 1000.0).reason
    assert die(waits, 1000.0).needs_person
    assert succeeded(waits, 2) == NEW


@pytest.mark.parametrize("waits", [DONE_FOR, LOGGED_OUT])
def test_who_waits_for_a_person_is_moved_by_nothing_else(waits: History) -> None:
    assert die(waits, 500.0) == waits
    assert hindered(waits, 2, 500.0, 0.5, DEFAULTS, "") == waits
    assert paused(waits, 2, 500.0, 501.0, "") == waits
    assert yielded(waits, 2, 500.0, DEFAULTS) == waits


def test_a_pause_is_no_end_and_one_that_is_over_already_is_none() -> None:
    history = paused(die(NEW, 0.0), 2, 10.0, 5.0, "too many requests")
    assert (history.rest, history.ends, history.rests_until) == (PAUSED, (0.0,), 10.0)
    assert decide(True, 2, None, history, 10.0).action == SIT


def test_health_and_a_new_wish_let_the_count_begin_anew() -> None:
    tired = die(NEW, 0.0, 10.0)
    assert tired.in_a_row == 2
    assert die(tired, 10.0 + DEFAULTS.restart_reset_s).in_a_row == 1
    assert ended(tired, 3, 11.0, 0.5, DEFAULTS, "").ends == (11.0,)
    assert under(tired, 2) is tired
    assert under(tired, 3) == History(generation=3)


@given(
    ends=st.lists(st.floats(0, 1e6), max_size=5),
    rest=st.sampled_from([None, BACKING_OFF, PARKED, PAUSED]),
    rests_until=st.none() | st.floats(0, 1e6),
    now=st.floats(0, 1e6),
)
def test_who_sits_as_wished_is_left_alone_however_long_it_works(
    ends: list[float], rest: str | None, rests_until: float | None, now: float
) -> None:
    """A policy that counts an hour without output as a failure would stop the agents that work longest."""
    history = History(generation=2, ends=tuple(ends), rest=rest, rests_until=rests_until)
    assert decide(True, 2, 2, history, now) == Step(KEEP, "as wished")


def test_a_reason_is_one_line_that_a_log_can_bear() -> None:
    told = ended(NEW, 2, 0.0, 0.5, DEFAULTS, "exit code 3\nTraceback ...\n").reason
    assert told == "an unintended end: exit code 3"
    assert len(paused(NEW, 2, 0.0, None, "x" * 5000).reason) == REASON_CHARACTERS_MAX
    assert paused(NEW, 2, 0.0, None, "no file \udcff").reason == "no file ?"
    assert paused(NEW, 2, 0.0, None, " \n").reason == "no reason was given"
