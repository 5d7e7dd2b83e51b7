"""When the end of a command is a pause, and until when."""

import pytest

from greenroom.client.command_result import CommandResult
from greenroom.client.run_outcome import PAUSED, resolve_pause
from greenroom.clock import format_instant
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.process.process_group import ExitStatus

NOW = 1_760_000_000.0
BEFORE, LATER, DEFAULT_END = (format_instant(NOW + s) for s in (-1.0, 3600.0, DEFAULT_LIMITS.restart_backoff_s_max))
A_DAY, TOO_FAR = (format_instant(NOW + s) for s in (86_400.0, DEFAULT_LIMITS.pause_s_max + 1))
YEAR_ONE = "0001-01-01T00:00:00.000Z"
FAILED_EXIT = ExitStatus(code=1, signal=None)


@pytest.mark.parametrize(
    ("result", "until", "detail"),
    [
        (
            CommandResult(status="rate_limited", until=LATER, reason="too much"),
            LATER,
            f"It is rate-limited until {LATER}: too much",
        ),
        (CommandResult(status="rate_limited"), DEFAULT_END, f"It is rate-limited until {DEFAULT_END}"),
        (CommandResult(status="rate_limited", until=BEFORE), DEFAULT_END, f"It is rate-limited until {DEFAULT_END}"),
        (CommandResult(status="rate_limited", until=A_DAY), A_DAY, f"It is rate-limited until {A_DAY}"),
        *(
            (
                CommandResult(status="rate_limited", until=until, reason="too much"),
                None,
                f"It is rate-limited until {until}, which is too far away to wait for: too much",
            )
            for until in (TOO_FAR, "9999-12-31T00:00:00.000Z")
        ),
        (CommandResult(status="rate_limited", until=YEAR_ONE), DEFAULT_END, f"It is rate-limited until {DEFAULT_END}"),
        (CommandResult(status="login_required", reason="too much"), None, "A login is needed: too much"),
    ],
    ids=["its instant", "no instant", "in the past", "a day", "two days", "in year 9999", "in year 1", "login"],
)
def test_limit_and_missing_login_pause(result: CommandResult, until: str | None, detail: str) -> None:
    outcome = resolve_pause(result, FAILED_EXIT, NOW, DEFAULT_LIMITS)
    assert outcome is not None
    assert (PAUSED, until, detail, FAILED_EXIT) == (outcome.kind, outcome.until, outcome.detail, outcome.exit)


@pytest.mark.parametrize(
    "result", [None, CommandResult(status="done"), CommandResult(status="failed", reason="it broke")]
)
def test_other_results_do_not_pause(result: CommandResult | None) -> None:
    assert resolve_pause(result, FAILED_EXIT, NOW, DEFAULT_LIMITS) is None
