"""Every cell of a task's transition table, driven through the service: it leads to its state or changes nothing."""

from collections.abc import Callable

import pytest

from greenroom.domain.errors import InvalidTransition, Superseded
from greenroom.domain.reliability import Reliability
from greenroom.domain.task import (
    ACKNOWLEDGED,
    BACKLOG,
    CLOSED,
    COMPLETED,
    IN_PROGRESS,
    PENDING,
    PENDING_REVIEW,
    QUARANTINED,
    QUEUED,
    STATES,
    TRANSITIONS,
    Task,
)
from greenroom.service import working
from tests.service.house import House
from tests.service.whole import whole

Arrange = Callable[[House, str], str]
Act = Callable[[House, Task, str | None], object]

TRIGGERS = sorted({trigger for moves in TRANSITIONS.values() for trigger in moves})
EDGES = [(state, trigger, to) for state, moves in TRANSITIONS.items() for trigger in moves for to in moves[trigger]]
MISSING = [(state, trigger) for state in STATES for trigger in TRIGGERS if trigger not in TRANSITIONS[state]]


# How a task is brought into a state: by attempt N of A, which is over where the state has no holder.


def attempted(house: House, begun: str) -> str:
    """Let A claim the task; its attempt is one more than before."""
    task = house.claim("builder", "A")
    assert task is not None
    assert begun == task.id
    return task.id


def in_progress(house: House, begun: str) -> str:
    return house.start(attempted(house, begun), "A", house.task(begun).attempt).id


def pending(house: House, begun: str) -> str:
    return house.reset(attempted(house, begun)).id


def backlog(house: House, begun: str) -> str:
    return house.send_back(pending(house, begun), to="backlog").id


def queued(house: House, begun: str) -> str:
    task = backlog(house, begun)
    house.send("takes the place")
    return house.queue(task).id


def quarantined(house: House, begun: str) -> str:
    return house.decline(attempted(house, begun), "A", house.task(begun).attempt).id


def closed(house: House, begun: str) -> str:
    return house.cancel(attempted(house, begun)).id


def completed(house: House, begun: str) -> str:
    """Also for a task of the backlog: the hand-off to another role needs no review."""
    return house.handoff(attempted(house, begun), "A", house.task(begun).attempt, to="reviewer", text="done").id


def pending_review(house: House, begun: str) -> str:
    return house.complete(attempted(house, begun), "A", house.task(begun).attempt, text="done").id


ARRANGE: dict[str, Arrange] = {
    BACKLOG: backlog,
    QUEUED: queued,
    PENDING: pending,
    ACKNOWLEDGED: attempted,
    IN_PROGRESS: in_progress,
    PENDING_REVIEW: pending_review,
    COMPLETED: completed,
    QUARANTINED: quarantined,
    CLOSED: closed,
}


# How a trigger is fired; `to` chooses the state where the trigger has more than one.


def complete(house: House, task: Task, to: str | None) -> object:
    if task.accepted_attempt is None:
        return house.complete(task.id, "A", task.attempt, text="done")
    return house.handoff(task.id, "A", task.attempt, to=task.handed_to or "user", text="done")


def accept(house: House, task: Task, to: str | None) -> object:
    return house.accept(task.id, attempt=1 if task.late_results else None)


def promote(house: House, task: Task, to: str | None) -> object:
    """Only the server promotes, when a place becomes free, and only queued tasks."""
    if task.status == QUEUED:
        [other] = [each for each in house.look().tasks if each.status == PENDING]
        assert task.id == house.cancel(other.id).promoted
        return house.task(task.id)
    return house.write(lambda tx: working.step(tx, task, "promote"))


def resume(house: House, task: Task, to: str | None) -> object:
    if task.status == PENDING:
        return house.join("builder", "A")
    return house.write(lambda tx: working.resume(house.world, tx, task, "came back"))


def claim(house: House, task: Task, to: str | None) -> object:
    if task.status == PENDING:
        return house.claim("builder", "A")
    return house.write(lambda tx: working.claim(house.world, tx, task, "A", "claimed"))


def retry(house: House, task: Task, to: str | None) -> object:
    return house.retry(task.id, to="reviewer" if to == CLOSED else None)


def send_back(house: House, task: Task, to: str | None) -> object:
    return house.send_back(task.id, to="backlog" if to == BACKLOG else None)


ACT: dict[str, Act] = {
    "accept": accept,
    "cancel": lambda house, task, to: house.cancel(task.id),
    "claim": claim,
    "complete": complete,
    "progress": lambda house, task, to: house.progress(task.id, "A", task.attempt),
    "promote": promote,
    "quarantine": lambda house, task, to: house.decline(task.id, "A", task.attempt),
    "queue": lambda house, task, to: house.queue(task.id),
    "release": lambda house, task, to: house.reset(task.id),
    "resume": resume,
    "retry": retry,
    "send_back": send_back,
    "start": lambda house, task, to: house.start(task.id, "A", task.attempt),
}


def standing(limits: Reliability | None = None) -> House:
    house = House(limits)
    house.room()
    house.join("builder", "A")
    return house


def begin(house: House, reviewed: bool) -> str:
    """A request's first task, for the builder: of a message, or of the backlog if its result is to be reviewed."""
    if reviewed:
        return house.queue(house.backlog().id).id
    task = house.send().task
    assert task is not None
    return task.id


def keep_late(house: House, task: str) -> None:
    """Let attempt 1 end with a late result."""
    attempted(house, task)
    house.reset(task)
    with pytest.raises(Superseded):
        house.complete(task, "A", 1, text="late")


def arranged(house: House, state: str, reviewed: bool, late: bool) -> Task:
    task = begin(house, reviewed)
    if late:
        keep_late(house, task)
    task = house.task(ARRANGE[state](house, task)).id
    assert state == house.task(task).status
    return house.task(task)


def test_no_state_and_no_trigger_is_left_out() -> None:
    assert sorted(STATES) == sorted(ARRANGE) == sorted(TRANSITIONS)
    assert TRIGGERS == sorted(ACT)


@pytest.mark.parametrize(("state", "trigger", "to"), EDGES)
def test_a_move_of_the_table_leads_where_it_says(state: str, trigger: str, to: str) -> None:
    if (state, trigger) in ELSEWHERE:
        ELSEWHERE[state, trigger](to)
        return
    house = standing()
    late = trigger == "accept" and state != PENDING_REVIEW
    task = arranged(house, state, reviewed=PENDING_REVIEW in (state, to), late=late)
    if to == QUEUED:
        house.send("takes the place")

    ACT[trigger](house, task, to)

    moved = house.task(task.id)
    assert to == moved.status
    assert task.attempt + (trigger == "claim") == moved.attempt


@pytest.mark.parametrize(("state", "trigger"), MISSING)
def test_what_the_table_does_not_have_is_refused_and_changes_nothing(state: str, trigger: str) -> None:
    house = standing()
    task = arranged(house, state, reviewed=state == PENDING_REVIEW, late=False)
    before = whole(house.store)
    if trigger == "complete":
        keeps_the_result(house, task)
        return
    if (state, trigger) == (ACKNOWLEDGED, "progress"):  # Two transitions in one: start, then progress.
        assert IN_PROGRESS == house.progress(task.id, "A", task.attempt).status
        return
    if (state, trigger) == (QUARANTINED, "quarantine"):  # A repeated decline is answered as the first one.
        assert QUARANTINED == house.decline(task.id, "A", task.attempt).status
        assert before == whole(house.store)
        return

    with pytest.raises(InvalidTransition) as refused:
        ACT[trigger](house, task, None)

    error = refused.value
    assert (state, trigger) == (error.current, error.attempted)
    assert tuple(TRANSITIONS[state]) == error.allowed
    assert state in error.detail
    assert all(move in error.guidance for move in error.allowed)
    assert before == whole(house.store)


def keeps_the_result(house: House, task: Task) -> None:
    """Complete where the table has no such edge: the accepted attempt is answered again, another's result is kept."""
    before = whole(house.store)
    if task.accepted_attempt is not None:
        assert task == complete(house, task, None)
        assert before == whole(house.store)
        return
    with pytest.raises(Superseded, match=task.status) as refused:
        complete(house, task, None)
    assert "kept as a late result" in refused.value.guidance
    assert ["done"] == [late.text for late in house.task(task.id).late_results]
    after = whole(house.store)
    assert ["counters", "events", "late_results", "streams"] == sorted(
        name for name in before if before[name] != after[name]
    )


# Edges that need a sequence of their own.


def goes_in_circles(to: str) -> None:
    """A hand-off beyond the limit opens a quarantined task."""
    house = standing(Reliability(max_handoffs=1))
    task = begin(house, reviewed=False)
    for expected in (PENDING, to):
        following = house.handoff(attempted(house, task), "A", 1, to="builder").next_task
        assert following is not None
        assert expected == house.task(following).status
        task = following


def comes_back(to: str) -> None:
    """An agent that lost a task by silence joins again."""
    house = standing()
    task = (in_progress if to == IN_PROGRESS else attempted)(house, begin(house, reviewed=False))
    house.pass_time(house.limits.heartbeat_ttl_s + house.limits.task_lost_after_s + 3)
    lost = house.task(task)
    assert (PENDING, "lost") == (lost.status, lost.released_cause)
    ACT["resume"](house, lost, to)
    again = house.task(task)
    assert (to, "A", lost.attempt) == (again.status, again.claimed_by, again.attempt)


ELSEWHERE: dict[tuple[str, str], Callable[[str], None]] = {
    (PENDING, "quarantine"): goes_in_circles,
    (PENDING, "resume"): comes_back,
}
