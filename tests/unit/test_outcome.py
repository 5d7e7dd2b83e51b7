"""When the end of a command is a pause, and until when."""

import pytest

from greenroom.client.outcome import PAUSED, pause_of
from greenroom.client.result import Result
from greenroom.clock import instant_of
from greenroom.domain.reliability import DEFAULTS
from greenroom.process.group import Exit

NOW = 1_760_000_000.0
BEFORE, LATER, DEFAULT_END = (instant_of(NOW + s) for s in (-1.0, 3600.0, DEFAULTS.restart_pause_s_max))
FAILED_EXIT = Exit(code=1, signal=None)


@pytest.mark.parametrize(
    ("result", "until", "detail"),
    [
        (
            Result(status="rate_limited", until=LATER, reason="too much"),
            LATER,
            f"It is rate-limited until {LATER}: too much",
        ),
        (Result(status="rate_limited"), DEFAULT_END, f"It is rate-limited until {DEFAULT_END}"),
        (Result(status="rate_limited", until=BEFORE), DEFAULT_END, f"It is rate-limited until {DEFAULT_END}"),
        (Result(status="login_required", reason="too much"), None, "A login is needed: too much"),
    ],
    ids=["until its instant", "without an instant", "instant in the past", "until a user logs in"],
)
def test_limit_and_missing_login_pause(result: Result, until: str | None, detail: str) -> None:
    outcome = pause_of(result, FAILED_EXIT, NOW, DEFAULTS)
    assert outcome is not None
    assert (PAUSED, until, detail, FAILED_EXIT) == (outcome.kind, outcome.until, outcome.detail, outcome.exit)


@pytest.mark.parametrize("result", [None, Result(status="done"), Result(status="failed", reason="it broke")])
def test_other_results_do_not_pause(result: Result | None) -> None:
    assert pause_of(result, FAILED_EXIT, NOW, DEFAULTS) is None
