"""When the end of a command is a pause, and until when."""

import pytest

from greenroom.client.outcome import PAUSED, pause_of
from greenroom.client.result import Result
from greenroom.clock import instant_of
from greenroom.domain.reliability import DEFAULTS
from greenroom.process.group import Exit

NOW = 1_760_000_000.0
BEFORE, THEN, IN_A_WHILE = (instant_of(NOW + s) for s in (-1.0, 3600.0, DEFAULTS.restart_pause_s_max))
DIED = Exit(code=1, signal=None)


@pytest.mark.parametrize(
    ("said", "until", "detail"),
    [
        (
            Result(status="rate_limited", until=THEN, reason="too much"),
            THEN,
            f"It is rate-limited until {THEN}: too much",
        ),
        (Result(status="rate_limited"), IN_A_WHILE, f"It is rate-limited until {IN_A_WHILE}"),
        (Result(status="rate_limited", until=BEFORE), IN_A_WHILE, f"It is rate-limited until {IN_A_WHILE}"),
        (Result(status="login_required", reason="too much"), None, "Its login is needed: too much"),
    ],
    ids=["until its instant", "without an instant", "instant in the past", "until a user logs in"],
)
def test_a_limit_and_a_missing_login_are_a_pause(said: Result, until: str | None, detail: str) -> None:
    outcome = pause_of(said, DIED, NOW, DEFAULTS)
    assert outcome is not None
    assert (PAUSED, until, detail, DIED) == (outcome.kind, outcome.until, outcome.detail, outcome.exit)


@pytest.mark.parametrize("said", [None, Result(status="done"), Result(status="failed", reason="it broke")])
def test_any_other_end_is_none(said: Result | None) -> None:
    assert pause_of(said, DIED, NOW, DEFAULTS) is None
