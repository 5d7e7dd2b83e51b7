"""Every cell of a task's transition table, driven through the service: it leads to its state or changes nothing."""

from collections.abc import Callable

import pytest

from greenroom.domain.errors import InvalidTransition, Superseded
from greenroom.domain.limits import Limits
from greenroom.domain.task import (
    ACKNOWLEDGED,
    BACKLOG,
    CLOSED,
    COMPLETED,
    IN_PROGRESS,
    OPEN_STATES,
    PENDING,
    PENDING_REVIEW,
    QUARANTINED,
    QUEUED,
    STATES,
    TRANSITIONS,
    Task,
)
from greenroom.service import task_transitions
from tests.service.in_process_service import InProcessService
from tests.service.store_rows import read_all_rows

Arrange = Callable[[InProcessService, str], str]
Act = Callable[[InProcessService, Task, str | None], object]

TRIGGERS = sorted({trigger for moves in TRANSITIONS.values() for trigger in moves})
EDGES = [(state, trigger, to) for state, moves in TRANSITIONS.items() for trigger in moves for to in moves[trigger]]
MISSING = [(state, trigger) for state in STATES for trigger in TRIGGERS if trigger not in TRANSITIONS[state]]


# How a task is brought into a state: by attempt N of A, which is over where the state has no holder.


def acknowledged(service: InProcessService, task_id: str) -> str:
    """Let A claim the task; its attempt is one more than before."""
    task = service.claim("builder", "A")
    assert task is not None
    assert task_id == task.id
    return task.id


def in_progress(service: InProcessService, task_id: str) -> str:
    return service.start(acknowledged(service, task_id), "A", service.show_task(task_id).attempt).id


def pending(service: InProcessService, task_id: str) -> str:
    return service.reset(acknowledged(service, task_id)).id


def backlog(service: InProcessService, task_id: str) -> str:
    return service.send_back(pending(service, task_id), to="backlog").id


def queued(service: InProcessService, task_id: str) -> str:
    task = backlog(service, task_id)
    service.send_message("takes the place")
    return service.queue(task).id


def quarantined(service: InProcessService, task_id: str) -> str:
    return service.decline(acknowledged(service, task_id), "A", service.show_task(task_id).attempt).id


def closed(service: InProcessService, task_id: str) -> str:
    return service.cancel(acknowledged(service, task_id)).id


def completed(service: InProcessService, task_id: str) -> str:
    """Also for a task of the backlog: the hand-off to another role needs no review."""
    return service.handoff(
        acknowledged(service, task_id), "A", service.show_task(task_id).attempt, to="reviewer", text="done"
    ).id


def pending_review(service: InProcessService, task_id: str) -> str:
    return service.complete(acknowledged(service, task_id), "A", service.show_task(task_id).attempt, text="done").id


ARRANGE: dict[str, Arrange] = {
    BACKLOG: backlog,
    QUEUED: queued,
    PENDING: pending,
    ACKNOWLEDGED: acknowledged,
    IN_PROGRESS: in_progress,
    PENDING_REVIEW: pending_review,
    COMPLETED: completed,
    QUARANTINED: quarantined,
    CLOSED: closed,
}


# How a trigger is fired; `to` chooses the state where the trigger has more than one.


def complete(service: InProcessService, task: Task, to: str | None) -> object:
    if task.accepted_attempt is None:
        return service.complete(task.id, "A", task.attempt, text="done")
    return service.handoff(task.id, "A", task.attempt, to=task.handed_to or "user", text="done")


def accept(service: InProcessService, task: Task, to: str | None) -> object:
    return service.accept(task.id, attempt=1 if task.late_results else None)


def promote(service: InProcessService, task: Task, to: str | None) -> object:
    """Only the server promotes, when a place becomes free, and only queued tasks."""
    if task.status == QUEUED:
        [other] = [each for each in service.show_room().tasks if each.status == PENDING]
        assert task.id == service.cancel(other.id).promoted
        return service.show_task(task.id)
    return service.run_mutation(lambda tx: task_transitions.apply_move(tx, task, "promote"))


def resume(service: InProcessService, task: Task, to: str | None) -> object:
    if task.status == PENDING:
        return service.join("builder", "A")
    return service.run_mutation(lambda tx: task_transitions.resume(service.context, tx, task, "came back"))


def claim(service: InProcessService, task: Task, to: str | None) -> object:
    if task.status == PENDING:
        return service.claim("builder", "A")
    return service.run_mutation(lambda tx: task_transitions.claim(service.context, tx, task, "A", "claimed"))


def retry(service: InProcessService, task: Task, to: str | None) -> object:
    return service.retry(task.id, to="reviewer" if to == CLOSED else None)


def send_back(service: InProcessService, task: Task, to: str | None) -> object:
    return service.send_back(task.id, to="backlog" if to == BACKLOG else None)


ACT: dict[str, Act] = {
    "accept": accept,
    "cancel": lambda service, task, to: service.cancel(task.id),
    "claim": claim,
    "complete": complete,
    "progress": lambda service, task, to: service.progress(task.id, "A", task.attempt),
    "promote": promote,
    "quarantine": lambda service, task, to: service.decline(task.id, "A", task.attempt),
    "queue": lambda service, task, to: service.queue(task.id),
    "release": lambda service, task, to: service.reset(task.id),
    "resume": resume,
    "retry": retry,
    "send_back": send_back,
    "start": lambda service, task, to: service.start(task.id, "A", task.attempt),
}


def make_service_with_agent(limits: Limits | None = None) -> InProcessService:
    service = InProcessService(limits)
    service.create_room()
    service.join("builder", "A")
    return service


def open_first_task(service: InProcessService, reviewed: bool) -> str:
    """A request's first task, for the builder: of a message, or of the backlog if its result is to be reviewed."""
    if reviewed:
        return service.queue(service.add_to_backlog().id).id
    task = service.send_message().task
    assert task is not None
    return task.id


def add_late_result(service: InProcessService, task: str) -> None:
    """Let attempt 1 end with a late result."""
    acknowledged(service, task)
    service.reset(task)
    with pytest.raises(Superseded):
        service.complete(task, "A", 1, text="late")


def arrange(service: InProcessService, state: str, reviewed: bool, late: bool) -> Task:
    task = open_first_task(service, reviewed)
    if late:
        add_late_result(service, task)
    task = service.show_task(ARRANGE[state](service, task)).id
    assert state == service.show_task(task).status
    return service.show_task(task)


def test_every_state_and_trigger_is_covered() -> None:
    assert sorted(STATES) == sorted(ARRANGE) == sorted(TRANSITIONS)
    assert TRIGGERS == sorted(ACT)


@pytest.mark.parametrize(("state", "trigger", "to"), EDGES)
def test_transition_leads_to_state(state: str, trigger: str, to: str) -> None:
    if (state, trigger) in SPECIAL_EDGES:
        SPECIAL_EDGES[state, trigger](to)
        return
    service = make_service_with_agent()
    late = trigger == "accept" and state != PENDING_REVIEW
    task = arrange(service, state, reviewed=PENDING_REVIEW in (state, to), late=late)
    if to == QUEUED:
        service.send_message("takes the place")

    ACT[trigger](service, task, to)

    moved = service.show_task(task.id)
    assert to == moved.status
    assert task.attempt + (trigger == "claim") == moved.attempt


@pytest.mark.parametrize(("state", "trigger"), MISSING)
def test_missing_transition_changes_nothing(state: str, trigger: str) -> None:
    service = make_service_with_agent()
    task = arrange(service, state, reviewed=state == PENDING_REVIEW, late=False)
    before = read_all_rows(service.store)
    if trigger == "complete":
        check_complete(service, task)
        return
    if (state, trigger) == (ACKNOWLEDGED, "progress"):  # Two transitions in one: start, then progress.
        assert IN_PROGRESS == service.progress(task.id, "A", task.attempt).status
        return
    if (state, trigger) == (QUARANTINED, "quarantine"):  # A repeated decline is answered as the first one.
        assert QUARANTINED == service.decline(task.id, "A", task.attempt).status
        assert before == read_all_rows(service.store)
        return

    with pytest.raises(InvalidTransition) as refused:
        ACT[trigger](service, task, None)

    error = refused.value
    assert (state, trigger) == (error.current, error.attempted)
    assert tuple(TRANSITIONS[state]) == error.allowed
    assert state in error.detail
    assert all(move in error.guidance for move in error.allowed)
    assert before == read_all_rows(service.store)


def check_complete(service: InProcessService, task: Task) -> None:
    """Complete where the table has no such edge: the accepted attempt is answered again, another's result is kept."""
    before = read_all_rows(service.store)
    if task.accepted_attempt is not None:
        assert task == complete(service, task, None)
        assert before == read_all_rows(service.store)
        return
    with pytest.raises(Superseded, match=task.status) as refused:
        complete(service, task, None)
    assert "kept as a late result" in refused.value.guidance
    assert ["done"] == [late.text for late in service.show_task(task.id).late_results]
    after = read_all_rows(service.store)
    alerted = ["alerts"] if task.status in OPEN_STATES else []
    assert [*alerted, "counters", "events", "late_results", "streams"] == sorted(
        name for name in before if before[name] != after[name]
    )


# Edges that need a sequence of their own.


def exceed_handoff_limit(to: str) -> None:
    """A hand-off beyond the limit opens a quarantined task."""
    service = make_service_with_agent(Limits(max_handoffs=1))
    task = open_first_task(service, reviewed=False)
    for expected in (PENDING, to):
        following = service.handoff(acknowledged(service, task), "A", 1, to="builder").next_task
        assert following is not None
        assert expected == service.show_task(following).status
        task = following


def resume_after_silence(to: str) -> None:
    """An agent that lost a task by silence joins again."""
    service = make_service_with_agent()
    task = (in_progress if to == IN_PROGRESS else acknowledged)(service, open_first_task(service, reviewed=False))
    service.pass_time(service.limits.heartbeat_ttl_s + service.limits.task_lost_after_s + 3)
    lost = service.show_task(task)
    assert (PENDING, "lost") == (lost.status, lost.released_cause)
    ACT["resume"](service, lost, to)
    again = service.show_task(task)
    assert (to, "A", lost.attempt) == (again.status, again.claimed_by, again.attempt)


SPECIAL_EDGES: dict[tuple[str, str], Callable[[str], None]] = {
    (PENDING, "quarantine"): exceed_handoff_limit,
    (PENDING, "resume"): resume_after_silence,
}
