from typing import Any

import pytest

from greenroom.client.tenure import why_gone
from tests.unit.scripted import task_of


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "completed", "accepted_attempt": 1, "attempt": 2}, "the result of attempt 1 was accepted"),
        ({"status": "backlog"}, "moved to the backlog"),
        ({"status": "closed", "reason": "no more"}, "cancelled (no more)"),
        ({"status": "pending", "released_cause": "reset"}, "released: reset"),
        ({"status": "in_progress", "attempt": 3}, "Another attempt has the task: in_progress, attempt 3"),
    ],
)
def test_why_a_task_is_gone_is_said_for_people(changes: dict[str, Any], why: str) -> None:
    assert why in why_gone(task_of(**changes))
