"""A reference model of tasks and results, which uses none of the product's rules except its table of transitions."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from greenroom.domain.event import Event
from greenroom.domain.task import OCCUPYING_STATES, TRANSITIONS, Task


@dataclass
class TaskModel:
    """The holder of each attempt, the results that were sent, and the accepted result of each task."""

    holder_of: dict[tuple[str, int], str] = field(default_factory=dict)
    results: set[tuple[str, int, str]] = field(default_factory=set)
    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)
    accepted_by_users: set[tuple[str, int]] = field(default_factory=set)
    notes: dict[str, list[str]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)

    def record_claim(self, task: Task, connection: str) -> None:
        holder = self.holder_of.setdefault((task.id, task.attempt), connection)
        assert holder == connection, "one attempt was given to two"

    def record_accepted(self, task: Task, connection: str, attempt: int, text: str) -> None:
        """Record that the result of the task's present attempt was accepted."""
        assert task.id not in self.accepted, "two results were accepted"
        assert task.accepted_attempt == attempt == task.attempt
        self.accepted[task.id] = (connection, attempt)
        self.results.add((task.id, attempt, text))

    def record_accepted_by_user(self, task: Task) -> None:
        """Record that a user accepted a result, possibly that of an earlier attempt."""
        assert task.accepted_attempt is not None
        self.accepted_by_users.add((task.id, task.accepted_attempt))
        self.accepted[task.id] = (self.holder_of[task.id, task.accepted_attempt], task.accepted_attempt)

    def record_rejected(self, task: str, connection: str, attempt: int, text: str, was_kept: bool) -> None:
        """Record a rejected result. It must be kept if its sender held that attempt, and only then."""
        assert was_kept == (self.holder_of.get((task, attempt)) == connection), "a late result was wrongly kept or lost"
        if was_kept:
            self.results.add((task, attempt, text))

    def check_task(self, task: Task) -> None:
        """Compare a stored task with what was recorded about it."""
        assert task.attempt >= self.attempts.get(task.id, 0), "the attempt number decreased"
        self.attempts[task.id] = task.attempt
        late = {(late_result.attempt, late_result.text) for late_result in task.late_results}
        for task_id, attempt, text in self.results:
            if task_id == task.id:
                assert (attempt, text) in late or (task.accepted_attempt, task.result) == (attempt, text), "result lost"
        if task.status == "completed":
            assert task.accepted_attempt is not None
            by_user = (task.id, task.accepted_attempt) in self.accepted_by_users
            assert by_user or task.accepted_attempt == task.attempt, "an old attempt counts without a user's decision"
        written, stored = self.notes.get(task.id, []), [note.text for note in task.notes]
        assert written == stored[len(stored) - len(written) :], "a note is missing or out of order"


def check_transitions(events: list[Event]) -> None:
    """Check that each status in the event log follows from the one before by the table of transitions."""
    last: dict[str, str] = {}
    for event in events:
        if event.type.startswith("task.") and "status" in event.data:
            task, status = event.data["task"], event.data["status"]
            before = last.get(task, status)
            reachable = {to for targets in TRANSITIONS[before].values() for to in targets}
            assert status == before or status in reachable, f"{before} -> {status} by {event.type}"
            last[task] = status


def check_request_limit(open_tasks: Iterable[Task], places: int) -> None:
    """Check that a room works on at most `places` requests, and queues none while a place is free."""
    statuses = [task.status for task in open_tasks]
    occupying = sum(status in OCCUPYING_STATES for status in statuses)
    assert "queued" not in statuses or occupying >= places, "a queued request waits although a place is free"
    assert occupying <= places, "the room works on more requests than its limit"
