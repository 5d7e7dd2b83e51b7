"""A late result is kept, does not count by itself, and may be accepted by a user."""

import pytest

from greenroom.domain.errors import Conflict, InvalidTransition, NotKept, Superseded
from greenroom.domain.task import LATE_RESULTS_MAX
from greenroom.service import rooms
from greenroom.wire import requests
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import claim_task, list_messages, make_service_with_agents, open_task


@pytest.fixture
def service() -> InProcessService:
    return make_service_with_agents()


def supersede_attempt(service: InProcessService, result: str | None = "what A had", to: str = "user") -> str:
    """A task that B holds as attempt 2, with a late result of A for attempt 1."""
    task = open_task(service)
    claim_task(service)
    service.join("builder", "B")
    service.pass_time(service.limits.takeover_grace_s + 2)
    assert 2 == claim_task(service, "B").attempt
    if result is not None:
        with pytest.raises(Superseded):
            service.handoff(task, "A", 1, to=to, text=result)
    return task


def list_late_results(service: InProcessService, task: str) -> list[tuple[int, str, str]]:
    return [(each.attempt, each.connection_id, each.text) for each in service.show_task(task).late_results]


def test_late_result_kept_in_every_state(service: InProcessService) -> None:
    for end in (service.reset, service.cancel, lambda task: service.decline(task, "A", 1)):
        task = open_task(service)
        claim_task(service)
        end(task)
        status = service.show_task(task).status
        with pytest.raises(Superseded, match=status) as refused:
            service.complete(task, "A", 1, "what I had")
        assert "kept as a late result" in refused.value.guidance
        assert [(1, "A", "what I had")] == list_late_results(service, task)
        if status != "closed":
            service.cancel(task)


@pytest.mark.parametrize("end", ["cancel", "reset", "accept"])
def test_user_decision_reaches_holder_by_beat(service: InProcessService, end: str) -> None:
    service.register_machine()
    service.set_agent_spec("builder")
    service.beat_machine()
    task = supersede_attempt(service)
    service.beat_machine(("builder", "B"))
    assert [task] == [each.task.id for each in service.beat_machine(("builder", "B")).agents if each.task]

    {"cancel": service.cancel, "reset": service.reset, "accept": lambda id: service.accept(id, attempt=1)}[end](task)

    assert [("ok", None)] == [(each.status, each.task) for each in service.beat_machine(("builder", "B")).agents]
    assert ("ok", None) == ((beat := service.beat("builder", "B")).status, beat.task)


def test_error_gives_close_reason(service: InProcessService) -> None:
    task = open_task(service)
    claim_task(service)
    service.cancel(task, "the customer left")
    with pytest.raises(Superseded, match="the customer left"):
        service.complete(task, "A", 1)


def test_only_attempt_owner_has_late_results(service: InProcessService) -> None:
    """B is in the role as A was, but attempt 1 was never its own."""
    task = supersede_attempt(service, result=None)
    for connection, attempt in (("B", 1), ("A", 2), ("R", 1), ("unknown", 1), ("A", 7)):
        with pytest.raises(Superseded) as refused:
            service.complete(task, connection, attempt, "not mine")
        assert "kept" not in refused.value.guidance
    assert [] == list_late_results(service, task)


def test_attempt_owner_known_after_restart(service: InProcessService) -> None:
    task = supersede_attempt(service, result=None)
    service.reset(task)
    assert 3 == claim_task(service, "B").attempt
    service.restart_server()

    for connection, attempt in (("A", 1), ("B", 2)):
        with pytest.raises(Superseded):
            service.complete(task, connection, attempt, f"of {connection}")

    assert [(1, "A", "of A"), (2, "B", "of B")] == list_late_results(service, task)


def test_new_holder_gets_late_result(service: InProcessService) -> None:
    task = supersede_attempt(service)
    assert ["what A had"] == [each.text for each in claim_task(service, "B").late_results]
    assert "what B had" == service.complete(task, "B", 2, "what B had").result


def test_accept_from_present_holder(service: InProcessService) -> None:
    task = supersede_attempt(service)
    service.claim("builder", "B", detached=True)
    waiting = open_task(service)

    accepted = service.accept(task, attempt=1)

    assert ("completed", "what A had", 1, 2) == (
        accepted.status,
        accepted.result,
        accepted.accepted_attempt,
        accepted.attempt,
    )
    assert waiting == accepted.promoted
    assert ("user", "what A had") == list_messages(service)[-1]
    assert service.beat("builder", "B").task is None
    service.pass_time(service.limits.heartbeat_ttl_s + 2)
    assert "B" not in [each.connection_id for each in service.show_room().participants], (
        "its lease is still as long as that of an agent at work"
    )


def test_holder_result_kept_after_accept(service: InProcessService) -> None:
    task = supersede_attempt(service)
    service.accept(task, attempt=1)

    with pytest.raises(Superseded):
        service.complete(task, "B", 2, "what B had")

    assert [(1, "A", "what A had"), (2, "B", "what B had")] == list_late_results(service, task)
    assert "what A had" == service.show_task(task).result
    with pytest.raises(InvalidTransition):
        service.accept(task, attempt=2)


def test_repeated_complete_after_accept(service: InProcessService) -> None:
    task = supersede_attempt(service)
    service.accept(task, attempt=1)
    assert service.show_task(task) == service.complete(task, "A", 1, "what A had")


def test_accepted_late_handoff_opens_task(service: InProcessService) -> None:
    task = supersede_attempt(service, to="reviewer")

    accepted = service.accept(task, attempt=1)

    assert accepted.next_task is not None
    following = service.show_task(accepted.next_task)
    assert ("pending", "reviewer", "what A had", task) == (
        following.status,
        following.target_role,
        following.text,
        following.request,
    )
    assert ("reviewer", "what A had") == list_messages(service)[-1]


@pytest.mark.parametrize("state", ["closed", "quarantined"])
def test_accepted_handoff_without_place_is_queued(service: InProcessService, state: str) -> None:
    task = open_task(service)
    claim_task(service)
    if state == "closed":
        service.cancel(task)
    else:
        service.decline(task, "A", 1)
    with pytest.raises(Superseded):
        service.handoff(task, "A", 1, to="reviewer", text="after all")
    other = open_task(service)

    accepted = service.accept(task, attempt=1)

    assert accepted.next_task is not None
    assert ("completed", "queued") == (accepted.status, service.show_task(accepted.next_task).status)
    assert accepted.next_task == service.cancel(other).promoted


def test_newest_late_result_is_accepted(service: InProcessService) -> None:
    task = supersede_attempt(service, "first")
    for text in ("second", "third"):
        with pytest.raises(Superseded):
            service.complete(task, "A", 1, text)
    assert "third" == service.accept(task, attempt=1).result


def test_accept_without_late_result(service: InProcessService) -> None:
    task = supersede_attempt(service)
    with pytest.raises(Conflict, match="No result waits for a review"):
        service.accept(task)
    with pytest.raises(Conflict, match="no late result of attempt 2") as refused:
        service.accept(task, attempt=2)
    assert "by its attempt (1)" in refused.value.guidance


def test_accept_refused_after_retry_elsewhere(service: InProcessService) -> None:
    task = open_task(service)
    claim_task(service)
    service.decline(task, "A", 1)
    with pytest.raises(Superseded):
        service.complete(task, "A", 1, "after all")
    sent = service.retry(task, to="reviewer").next_task
    assert sent is not None

    with pytest.raises(Conflict, match=sent):
        service.accept(task, attempt=1)
    service.cancel(sent)
    assert "after all" == service.accept(task, attempt=1).result


def test_accept_in_closed_room(service: InProcessService) -> None:
    first, second = open_task(service), None
    claim_task(service)
    service.cancel(first)
    with pytest.raises(Superseded):
        service.complete(first, "A", 1, "for the user")
    second = open_task(service)
    claim_task(service)
    service.cancel(second)
    with pytest.raises(Superseded):
        service.handoff(second, "A", 1, to="reviewer", text="for the reviewer")
    service.run_mutation(lambda tx: rooms.close(service.context, tx, service.principal, "r", requests.GiveReason()))

    assert "for the user" == service.accept(first, attempt=1).result
    with pytest.raises(Conflict) as refused:
        service.accept(second, attempt=1)
    assert "room_closed" == refused.value.code
    assert "closed" == service.show_task(second).status


def test_late_results_limit(service: InProcessService) -> None:
    task = supersede_attempt(service, result=None)
    for number in range(LATE_RESULTS_MAX):
        with pytest.raises(Superseded):
            service.complete(task, "A", 1, f"try {number}")
    with pytest.raises(Superseded) as refused:
        service.complete(task, "A", 1, "one more")
    assert "in place of the oldest one of this attempt" in refused.value.guidance
    texts = [text for _, _, text in list_late_results(service, task)]
    assert [*(f"try {number}" for number in range(1, LATE_RESULTS_MAX)), "one more"] == texts

    service.reset(task)
    with pytest.raises(NotKept) as refused:
        service.complete(task, "B", 2, "of another attempt")
    assert "NOT kept" in refused.value.guidance
    assert texts == [text for _, _, text in list_late_results(service, task)], (
        "a late result of another attempt was dropped"
    )
