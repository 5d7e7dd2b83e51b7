"""Backlog: work that starts when a user queues it, and ends when a user accepts its result."""

import pytest

from greenroom.domain.errors import Conflict, InvalidTransition, Superseded, Unusable
from greenroom.domain.task import LATE_RESULTS_MAX, Task
from greenroom.service import rooms
from greenroom.wire import requests
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import claim_task, list_messages, make_service_with_agents


@pytest.fixture
def service() -> InProcessService:
    return make_service_with_agents()


def finish_backlog_item(service: InProcessService, text: str = "there you are") -> Task:
    """A backlog item whose result was handed to the user."""
    item = service.queue(service.add_to_backlog("tidy up").id)
    held = claim_task(service)
    assert item.id == held.id
    return service.complete(held.id, "A", held.attempt, text)


def open_alert_keys(service: InProcessService) -> list[str]:
    keys: list[str] = []
    for event in service.events():
        if event.type == "alert.raised":
            keys.append(event.data["id"])
        elif event.type == "alert.resolved":
            keys.remove(event.data["id"])
    return keys


def test_item_waits_until_queued(service: InProcessService) -> None:
    item = service.add_to_backlog("tidy up", to="reviewer")

    assert ("backlog", "backlog", "reviewer") == (item.status, item.origin, item.target_role)
    assert service.claim("reviewer", "R") is None
    assert [item.id] == [each.id for each in service.show_room().tasks]

    assert "pending" == service.queue(item.id).status
    again = claim_task(service, "R", "reviewer")
    assert item.id == again.id
    assert ["task.opened", "task.queued", "task.claimed"] == [t for t in service.event_types() if t.startswith("task.")]


def test_default_role_is_entry_role(service: InProcessService) -> None:
    assert "builder" == service.add_to_backlog().target_role
    with pytest.raises(Unusable, match="no role"):
        service.add_to_backlog(to="unknown")


def test_queued_item_is_promoted(service: InProcessService) -> None:
    first = service.send_message().task
    assert first is not None
    item = service.queue(service.add_to_backlog().id)
    assert "queued" == item.status

    assert item.id == service.cancel(first.id).promoted
    assert "pending" == service.show_task(item.id).status


def test_result_waits_for_review_and_frees_place(service: InProcessService) -> None:
    item = service.queue(service.add_to_backlog().id)
    waiting = service.send_message().task
    assert waiting is not None
    held = claim_task(service)

    handed = service.complete(held.id, "A", 1, "there you are")

    assert ("pending_review", "there you are", 1) == (handed.status, handed.result, handed.accepted_attempt)
    assert (waiting.id, "pending") == (handed.promoted, service.show_task(waiting.id).status)
    assert [("user", "there you are")] == list_messages(service)[1:]
    assert [f"review:{item.id}"] == open_alert_keys(service)
    assert service.beat("builder", "A").task is None
    again = claim_task(service)
    assert waiting.id == again.id


def test_handoff_to_user_is_reviewed(service: InProcessService) -> None:
    service.queue(service.add_to_backlog().id)
    held = claim_task(service)
    handed = service.handoff(held.id, "A", 1, to="reviewer")
    assert "completed" == handed.status
    following = claim_task(service, "R", "reviewer")
    assert "backlog" == following.origin

    assert "pending_review" == service.handoff(following.id, "R", 1, to="user", text="fine").status


def test_message_task_is_not_reviewed(service: InProcessService) -> None:
    service.send_message()
    held = claim_task(service)
    assert "completed" == service.complete(held.id, "A", 1).status


def test_accept_completes_item(service: InProcessService) -> None:
    handed = finish_backlog_item(service)
    accepted = service.accept(handed.id)

    assert ("completed", "there you are", 1) == (accepted.status, accepted.result, accepted.accepted_attempt)
    assert accepted.completed_at is not None
    assert [] == open_alert_keys(service)
    assert 1 == len(list_messages(service)), "the result was sent to the user a second time"
    assert "task.completed" == [t for t in service.event_types() if t.startswith("task.")][-1]


def test_send_back_adds_note(service: InProcessService) -> None:
    handed = finish_backlog_item(service)
    back = service.send_back(handed.id, reason="the door is still open")

    assert ("pending", None, None) == (back.status, back.result, back.accepted_attempt)
    assert [] == open_alert_keys(service)
    again = claim_task(service)
    assert 2 == again.attempt
    assert ["the door is still open"] == [note.text for note in again.notes]
    assert [(1, "there you are")] == [(late.attempt, late.text) for late in again.late_results]
    assert "pending_review" == service.complete(again.id, "A", 2, "now it is shut").status
    assert "now it is shut" == service.accept(again.id).result


def test_accept_after_send_back(service: InProcessService) -> None:
    handed = finish_backlog_item(service)
    service.send_back(handed.id)
    accepted = service.accept(handed.id, attempt=1)

    assert ("completed", "there you are", 1) == (accepted.status, accepted.result, accepted.accepted_attempt)


def test_accept_after_cancel(service: InProcessService) -> None:
    handed = finish_backlog_item(service)
    closed = service.cancel(handed.id, "no longer wanted")
    assert ("closed", None) == (closed.status, closed.result)
    assert [] == open_alert_keys(service)

    assert "there you are" == service.accept(handed.id, attempt=1).result


def test_send_back_to_full_room_queues(service: InProcessService) -> None:
    handed = finish_backlog_item(service)
    other = service.send_message().task
    assert other is not None

    back = service.send_back(handed.id)

    assert ("queued", None) == (back.status, back.promoted)
    assert back.id == service.cancel(other.id).promoted


def test_send_back_to_backlog_frees_place(service: InProcessService) -> None:
    first, second = service.send_message().task, service.send_message().task
    assert first is not None
    assert second is not None

    returned = service.send_back(first.id, reason="after the holidays")

    assert ("backlog", second.id) == (returned.status, returned.promoted)
    assert ["after the holidays"] == [note.text for note in returned.notes]
    assert "backlog" == service.send_back(service.send_message().task.id).status  # type: ignore[union-attr]
    assert "queued" == service.queue(first.id).status


def test_send_back_limit(service: InProcessService) -> None:
    task = finish_backlog_item(service, "try 0").id
    for number in range(1, LATE_RESULTS_MAX + 1):
        service.send_back(task)
        again = service.claim("builder", "A")
        assert again is not None
        service.complete(task, "A", again.attempt, f"try {number}")
    before = service.show_task(task)
    with pytest.raises(Conflict, match=f"already has {LATE_RESULTS_MAX} late results"):
        service.send_back(task, reason="once more")
    assert before == service.show_task(task)
    assert "try 20" == service.accept(task).result


def test_send_back_requires_pending_review(service: InProcessService) -> None:
    task = service.send_message().task
    assert task is not None
    with pytest.raises(InvalidTransition):
        service.send_back(task.id, to="pending")
    service.claim("builder", "A")
    with pytest.raises(InvalidTransition):
        service.send_back(task.id)


def test_backlog_task_is_not_resumed(service: InProcessService) -> None:
    """A note may have been added meanwhile; the answer to a new claim has it."""
    task = service.send_message().task
    assert task is not None
    service.claim("builder", "A")
    service.pass_time(service.limits.heartbeat_ttl_s + service.limits.task_lost_after_s + 3)
    assert "lost" == service.show_task(task.id).released_cause
    service.send_back(task.id)
    service.queue(task.id)

    assert service.join("builder", "A").task is None
    again = claim_task(service)
    assert 2 == again.attempt


def test_repeated_complete_returns_current_task(service: InProcessService) -> None:
    handed = finish_backlog_item(service)
    assert handed == service.complete(handed.id, "A", 1, "there you are")

    service.accept(handed.id)
    assert "completed" == service.complete(handed.id, "A", 1, "there you are").status
    assert 1 == service.event_types().count("task.completed")


def test_repeated_complete_after_send_back(service: InProcessService) -> None:
    handed = finish_backlog_item(service)
    service.send_back(handed.id)

    with pytest.raises(Superseded, match="no longer counts"):
        service.complete(handed.id, "A", 1, "there you are")

    assert ["there you are"] == [late.text for late in service.show_task(handed.id).late_results]


def test_backlog_and_closed_rooms(service: InProcessService) -> None:
    def close() -> None:
        service.run_mutation(lambda tx: rooms.close(service.context, tx, service.principal, "r", requests.GiveReason()))

    item = service.add_to_backlog()
    with pytest.raises(Conflict, match="still has work"):
        close()
    service.cancel(item.id)
    close()

    with pytest.raises(Conflict) as refused:
        service.add_to_backlog()
    assert "room_closed" == refused.value.code
