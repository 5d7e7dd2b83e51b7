"""A request that is handed back and forth too often is quarantined, and a user can let it go on."""

from greenroom.domain.limits import Limits
from tests.service.in_process_service import InProcessService


def hand_off_repeatedly(service: InProcessService, times: int) -> str:
    """Hand one request back and forth between two roles, and return the id of its last task."""
    roles = ("builder", "reviewer")
    sent = service.send_message().task
    assert sent is not None
    task = sent.id
    for turn in range(times):
        source, destination = roles[turn % 2], roles[(turn + 1) % 2]
        held = service.claim(source, source)
        assert held is not None
        assert task == held.id
        done = service.handoff(held.id, source, held.attempt, to=destination)
        assert done.next_task is not None
        task = done.next_task
    return task


def make_request_with_handoffs(times: int) -> tuple[InProcessService, str]:
    service = InProcessService(Limits(max_handoffs=4))
    service.create_room()
    service.join("builder", "builder")
    service.join("reviewer", "reviewer")
    return service, hand_off_repeatedly(service, times)


def test_handoffs_up_to_limit() -> None:
    service, task = make_request_with_handoffs(4)
    assert "pending" == service.show_task(task).status


def test_handoff_over_limit_quarantines_and_promotes_next() -> None:
    service, _ = make_request_with_handoffs(4)
    waiting = service.send_message().task
    assert waiting is not None
    assert "queued" == waiting.status
    held = service.claim("builder", "builder")
    assert held is not None
    done = service.handoff(held.id, "builder", held.attempt, to="reviewer")
    assert done.next_task is not None
    circling = service.show_task(done.next_task)
    assert ("quarantined", True) == (circling.status, "going in circles" in (circling.reason or ""))
    assert (waiting.id, "pending") == (done.promoted, service.show_task(waiting.id).status)


def test_retry_continues_over_limit() -> None:
    service, _ = make_request_with_handoffs(4)
    held = service.claim("builder", "builder")
    assert held is not None
    done = service.handoff(held.id, "builder", held.attempt, to="reviewer")
    assert done.next_task is not None
    assert "pending" == service.retry(done.next_task).status
    again = service.claim("reviewer", "reviewer")
    assert again is not None
    assert "completed" == service.complete(again.id, "reviewer", again.attempt).status
