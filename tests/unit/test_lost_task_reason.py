from typing import Any

import pytest

from greenroom.client.tenure import why_gone
from tests.unit.scripted_transport import make_task


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "completed", "accepted_attempt": 1, "attempt": 2}, "the result of attempt 1 was taken"),
        ({"status": "backlog"}, "put back into the backlog"),
        ({"status": "closed", "reason": "no more"}, "cancelled (no more)"),
        ({"status": "pending", "released_cause": "reset"}, "taken back: reset"),
        ({"status": "in_progress", "attempt": 3}, "another's now: in_progress, attempt 3"),
    ],
)
def test_reason_for_lost_task(changes: dict[str, Any], reason: str) -> None:
    assert reason in why_gone(make_task(**changes))
