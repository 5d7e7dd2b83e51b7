"""A quarantined task waits for a user, who retries it, sends it to another role or cancels it."""

import pytest

from greenroom.domain.errors import Unusable
from greenroom.domain.limits import Limits
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import claim_task, make_service_with_agents, open_task


def fail_until_quarantined(service: InProcessService) -> str:
    task = open_task(service)
    for number in range(service.limits.task_failures_max):
        assert task == claim_task(service, connection=f"A{number}" if number else "A").id
        service.leave("builder", f"A{number}" if number else "A", cause="exited")
        service.join("builder", f"A{number + 1}")
    return task


def list_alert_events(service: InProcessService) -> list[tuple[str, str]]:
    return [(e.type, e.data["id"]) for e in service.events() if e.type.startswith("alert.")]


def test_third_failure_quarantines_and_retry_resets() -> None:
    service = make_service_with_agents()
    task = fail_until_quarantined(service)
    quarantined = service.show_task(task)
    assert ("quarantined", 3) == (quarantined.status, quarantined.failures)
    assert "3 attempts failed" in (quarantined.reason or "")
    assert [("alert.raised", f"quarantined:{task}")] == list_alert_events(service)

    again = service.retry(task)
    assert ("pending", 0, None) == (again.status, again.failures, again.reason)
    assert ("alert.resolved", f"quarantined:{task}") == list_alert_events(service)[-1]


def test_quarantine_by_exit_promotes_next() -> None:
    service = make_service_with_agents(Limits(task_failures_max=1))
    task = open_task(service)
    waiting = open_task(service)
    claim_task(service)
    service.leave("builder", "A", cause="exited")
    assert ("quarantined", waiting) == (service.show_task(task).status, service.show_task(task).promoted)
    assert "pending" == service.show_task(waiting).status


def test_quarantine_by_report_promotes_next() -> None:
    service = make_service_with_agents(Limits(task_failures_max=1))
    service.register_machine()
    service.set_agent_spec("builder")
    service.beat_machine()
    task, waiting = open_task(service), open_task(service)
    claim_task(service)
    service.send_reports(
        AgentReport(id="f", kind="exited", room="r", role="builder", connection_id="A", task=task, attempt=1, code=1)
    )
    assert waiting == service.show_task(task).promoted


def test_decline_frees_place_and_retry_queues() -> None:
    service = make_service_with_agents()
    task, waiting = open_task(service), open_task(service)
    claim_task(service)
    declined = service.decline(task, "A", 1, "the tests need a licence")
    assert ("quarantined", waiting) == (declined.status, declined.promoted)
    assert "declined: the tests need a licence" == declined.reason

    again = service.retry(task)
    assert ("queued", None) == (again.status, again.promoted)
    assert task == service.cancel(waiting).promoted


def test_retry_to_other_role_keeps_notes() -> None:
    service = make_service_with_agents()
    task = open_task(service)
    service.add_note(task, "it is in the cellar")
    claim_task(service)
    service.decline(task, "A", 1, "I have no key")

    closed = service.retry(task, to="reviewer", reason="has the key")

    assert closed.next_task is not None
    assert ("closed", "sent to reviewer: has the key") == (closed.status, closed.reason)
    sent = claim_task(service, "R", "reviewer")
    assert (closed.next_task, task, closed.text, 0) == (sent.id, sent.request, sent.text, sent.failures)
    assert ["it is in the cellar"] == [note.text for note in sent.notes]
    assert ("alert.resolved", f"quarantined:{task}") == list_alert_events(service)[-1]
    service.add_note(sent.id, "and dark")
    assert ("and dark",) == service.beat("reviewer", "R").notes


def test_retry_to_other_role_queues_in_full_room() -> None:
    service = make_service_with_agents()
    task, waiting = open_task(service), open_task(service)
    claim_task(service)
    service.decline(task, "A", 1)
    sent = service.retry(task, to="reviewer").next_task
    assert sent is not None
    assert "queued" == service.show_task(sent).status
    assert sent == service.cancel(waiting).promoted


def test_retry_target_role() -> None:
    service = make_service_with_agents()
    task = open_task(service)
    claim_task(service)
    service.decline(task, "A", 1)
    with pytest.raises(Unusable, match="no role"):
        service.retry(task, to="unknown")
    assert "quarantined" == service.show_task(task).status
    assert ("pending", None) == ((again := service.retry(task, to="builder")).status, again.next_task)


def test_retry_resets_handoff_count() -> None:
    """The hand-offs count from 0 again; otherwise the next one would quarantine the task again."""
    service = make_service_with_agents(Limits(max_handoffs=2))
    task = open_task(service)

    def hand_off_until_quarantined() -> tuple[str, int]:
        nonlocal task
        for turn in range(10):
            held = service.show_task(task)
            role, connection = held.target_role, {"builder": "A", "reviewer": "R"}[held.target_role]
            attempt = claim_task(service, connection, role).attempt
            following = service.handoff(task, connection, attempt, to="reviewer" if role == "builder" else "builder")
            assert following.next_task is not None
            task = following.next_task
            if service.show_task(task).status == "quarantined":
                return service.show_task(task).reason or "", turn
        raise AssertionError("no hand-off limit was met")

    reason, turns = hand_off_until_quarantined()
    assert 2 == turns
    assert "going in circles: 3 hand-offs in one request (limit 2)" in reason
    assert ("alert.raised", f"quarantined:{task}") == list_alert_events(service)[-1]

    assert 0 == service.retry(task).handoffs
    assert 2 == hand_off_until_quarantined()[1]
    sent = service.retry(
        task, to="builder" if service.show_task(task).target_role == "reviewer" else "reviewer"
    ).next_task
    assert sent is not None
    task = sent
    assert 2 == hand_off_until_quarantined()[1]
