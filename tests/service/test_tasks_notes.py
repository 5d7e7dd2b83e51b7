"""Notes on a task reach the agent that holds it, with a beat or a claim, and none is lost."""

from collections.abc import Callable

import pytest

from greenroom.domain.errors import Conflict, Unusable
from greenroom.domain.task import NOTES_MAX, Task
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService


@pytest.fixture
def service() -> InProcessService:
    new_service = InProcessService()
    new_service.create_room()
    new_service.join("builder", "A")
    return new_service


def claim_new_task(service: InProcessService) -> Task:
    service.send_message()
    task = service.claim("builder", "A")
    assert task is not None
    return task


def beat_notes(service: InProcessService, connection: str = "A") -> list[str]:
    return list(service.beat("builder", connection).notes)


def test_every_beat_repeats_all_notes(service: InProcessService) -> None:
    """So a lost response loses no note."""
    task = claim_new_task(service)
    assert [] == beat_notes(service)

    noted = service.add_note(task.id, "use the blue one")
    assert [("use the blue one", 1, "operator")] == [(note.text, note.attempt, note.by) for note in noted.notes]
    service.add_note(task.id, "and be quick")

    assert ["use the blue one", "and be quick"] == beat_notes(service) == beat_notes(service)
    assert task.id == service.beat("builder", "A").task.id  # type: ignore[union-attr]
    assert 2 == service.event_types().count("task.noted")


def test_beat_has_notes_of_current_attempt(service: InProcessService) -> None:
    task = claim_new_task(service)
    service.add_note(task.id, "to the first")
    service.reset(task.id)
    assert [] == beat_notes(service)
    service.add_note(task.id, "for the next holder")

    again = service.claim("builder", "A")

    assert again is not None
    assert ["to the first", "for the next holder"] == [note.text for note in again.notes]
    assert [1, None] == [note.attempt for note in again.notes]
    assert [] == beat_notes(service)
    service.add_note(task.id, "to the second")
    assert ["to the second"] == beat_notes(service)


def test_next_task_has_no_notes(service: InProcessService) -> None:
    task = claim_new_task(service)
    service.add_note(task.id)
    service.complete(task.id, "A", 1)
    assert [] == beat_notes(service)
    claim_new_task(service)
    assert [] == beat_notes(service)


def test_notes_after_server_restart(service: InProcessService) -> None:
    task = claim_new_task(service)
    service.add_note(task.id, "use the blue one")
    service.restart_server()
    assert ["use the blue one"] == beat_notes(service)


def test_notes_after_lost_task_resumes(service: InProcessService) -> None:
    """Also notes written while the task was released: its holder resumes it without a new claim."""
    task = claim_new_task(service)
    service.add_note(task.id, "before")
    service.pass_time(service.limits.heartbeat_ttl_s + 2)
    service.add_note(task.id, "while it was silent")
    service.pass_time(service.limits.task_lost_after_s + 2)
    assert "pending" == service.show_task(task.id).status
    service.add_note(task.id, "while it was lost")

    assert task.id == service.join("builder", "A").task.id  # type: ignore[union-attr]

    assert ["before", "while it was silent", "while it was lost"] == beat_notes(service)


def test_daemon_beat_has_notes(service: InProcessService) -> None:
    service.register_machine()
    service.set_agent_spec("builder")
    service.beat_machine()
    task = claim_new_task(service)
    service.add_note(task.id, "use the blue one")
    service.beat_machine(("builder", "A"))

    [verdict] = service.beat_machine(("builder", "A")).agents
    assert ("ok", ("use the blue one",)) == (verdict.status, verdict.notes)

    service.pass_time(service.limits.daemon_heartbeat_ttl_s + 2)
    [verdict] = service.beat_machine(("builder", "A")).agents
    assert ("ok", ("use the blue one",)) == (verdict.status, verdict.notes)


def test_ended_run_has_no_notes(service: InProcessService) -> None:
    service.register_machine()
    service.set_agent_spec("builder")
    service.beat_machine()
    task = claim_new_task(service)
    service.add_note(task.id)
    service.beat_machine(("builder", "A"))
    service.send_reports(
        AgentReport(
            id="f1", kind="exited", room="r", role="builder", connection_id="A", task=task.id, attempt=1, intended=True
        )
    )
    [verdict] = service.beat_machine(("builder", "A")).agents
    assert (None, ()) == (verdict.task, verdict.notes)


def test_notes_limit(service: InProcessService) -> None:
    task = claim_new_task(service)
    for number in range(NOTES_MAX):
        service.add_note(task.id, f"note {number}")
    with pytest.raises(Conflict, match="20 notes already"):
        service.add_note(task.id, "one more")
    assert [f"note {number}" for number in range(NOTES_MAX)] == beat_notes(service)


def test_note_on_finished_task_is_rejected(service: InProcessService) -> None:
    task = claim_new_task(service)
    service.complete(task.id, "A", 1)
    with pytest.raises(Conflict, match="no agent would read"):
        service.add_note(task.id)


def test_unstorable_text_is_rejected(service: InProcessService) -> None:
    task = claim_new_task(service)
    refusals: tuple[Callable[[], object], ...] = (
        lambda: service.add_note(task.id, "a\0b"),
        lambda: service.cancel(task.id, "a\0b"),
        lambda: service.decline(task.id, "A", 1, "half \ud800 of one"),
        lambda: service.send_back(task.id, reason="a\0b"),
    )
    for refused in refusals:
        with pytest.raises(Unusable):
            refused()
    assert "acknowledged" == service.show_task(task.id).status
