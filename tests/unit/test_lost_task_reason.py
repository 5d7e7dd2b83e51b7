from typing import Any

import pytest

from greenroom.client.run_outcome import loss_reason
from tests.unit.scripted_transport import make_task


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "completed", "accepted_attempt": 1, "attempt": 2}, "the result of attempt 1 was accepted"),
        ({"status": "backlog"}, "moved to the backlog"),
        ({"status": "closed", "reason": "no more"}, "cancelled (no more)"),
        ({"status": "pending", "released_cause": "reset"}, "released: reset"),
        ({"status": "in_progress", "attempt": 3}, "Another attempt has the task: in_progress, attempt 3"),
    ],
)
def test_reason_for_lost_task(changes: dict[str, Any], reason: str) -> None:
    assert reason in loss_reason(make_task(**changes))
