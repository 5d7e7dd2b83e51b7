import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.domain.reliability import DEFAULTS
from greenroom.domain.supervision import KEEP, SIT, STOP, WAIT, History, Step, decide, ended, succeeded, under, yielded

RESTING = History(generation=2, ends=3, last_end_at=90.0, rests_until=110.0)
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
    (True, 3, None, RESTING, SIT),  # a new wish does not wait for the rest of the old one
    (True, 2, None, yielded(2, 99.0, DEFAULTS), WAIT),
    (True, 2, None, yielded(2, 50.0, DEFAULTS), SIT),
    (True, 3, None, yielded(2, 99.0, DEFAULTS), SIT),
    (True, 2, 2, RESTING, KEEP),
]


@pytest.mark.parametrize(("desired", "wished", "seated", "history", "action"), RULES)
def test_the_rules(desired: bool, wished: int, seated: int | None, history: History, action: str) -> None:
    assert decide(desired, wished, seated, history, 100.0).action == action


def test_a_rest_has_an_end_and_says_why() -> None:
    expected = Step(WAIT, "resting after 3 unintended ends in a row", 110.0)
    assert decide(True, 2, None, RESTING, 100.0) == expected
    assert decide(True, 2, None, RESTING, 110.0).action == SIT


def test_a_pause_doubles_up_to_the_longest() -> None:
    history, longest = History(generation=1), []
    for _ in range(12):
        history = ended(history, 1, 0.0, 1.0, DEFAULTS)
        assert history.rests_until is not None
        longest.append(history.rests_until)
    assert longest[:4] == [2.0, 4.0, 8.0, 16.0]
    assert longest[-1] == DEFAULTS.restart_pause_s_max


@given(ends=st.integers(0, 10_000), fraction=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_outside_its_bounds(ends: int, fraction: float) -> None:
    history = ended(History(generation=1, ends=ends, last_end_at=0.0), 1, 0.0, fraction, DEFAULTS)
    assert history.rests_until is not None
    assert DEFAULTS.restart_pause_s_min <= history.rests_until <= DEFAULTS.restart_pause_s_max


def test_health_success_and_a_new_wish_let_the_count_begin_anew() -> None:
    tired = ended(ended(History(generation=1), 1, 0.0, 0.5, DEFAULTS), 1, 10.0, 0.5, DEFAULTS)
    assert tired.ends == 2
    assert ended(tired, 1, 10.0 + DEFAULTS.restart_reset_s, 0.5, DEFAULTS).ends == 1
    assert ended(tired, 2, 11.0, 0.5, DEFAULTS).ends == 1
    assert succeeded(1) == History(generation=1)
    assert under(tired, 1) is tired
    assert under(tired, 2) == History(generation=2)
