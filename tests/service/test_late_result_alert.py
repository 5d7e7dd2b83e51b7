"""A late result that nobody has decided about raises one alert, which the next decision about its task resolves."""

from collections.abc import Callable

import pytest

from greenroom.domain.errors import Superseded
from tests.service.in_process_service import InProcessService
from tests.service.scenarios import claim_task, make_service_with_agents, open_task


@pytest.fixture
def service() -> InProcessService:
    return make_service_with_agents()


def late_events(service: InProcessService) -> list[str]:
    return [event.type for event in service.events() if event.data.get("kind") == "late_result"]


def hand_in_late(service: InProcessService, task: str, text: str = "what A had") -> None:
    with pytest.raises(Superseded):
        service.complete(task, "A", 1, text)


def make_late_result(service: InProcessService) -> str:
    """A task that A holds as attempt 2, with a late result of attempt 1."""
    task = open_task(service)
    claim_task(service)
    service.reset(task)
    claim_task(service)
    hand_in_late(service, task)
    return task


def test_one_alert_for_all_late_results(service: InProcessService) -> None:
    task = make_late_result(service)
    hand_in_late(service, task, "more")
    [alert] = service.list_alerts()
    assert (f"late_result:{task}", "r", "builder", task, task) == (
        alert.id,
        alert.room,
        alert.role,
        alert.request,
        alert.task,
    )
    assert "2 late results" in alert.text
    assert f"greenroom task show {task}" == alert.next
    assert [{"attempt": 1}] == [action.body for action in alert.actions if action.verb == "accept"]
    service.restart_server()
    assert [alert] == service.list_alerts()
    assert ["alert.raised"] == late_events(service)


DECISIONS: dict[str, Callable[[InProcessService, str], object]] = {
    "accept": lambda service, task: service.accept(task, attempt=1),
    "cancel": lambda service, task: service.cancel(task),
    "reset": lambda service, task: service.reset(task),
    "complete": lambda service, task: service.complete(task, "A", 2),
    "hand off": lambda service, task: service.handoff(task, "A", 2, to="reviewer"),
}


@pytest.mark.parametrize("decision", DECISIONS)
def test_decision_resolves_it(service: InProcessService, decision: str) -> None:
    task = make_late_result(service)
    DECISIONS[decision](service, task)
    assert ["alert.raised", "alert.resolved"] == late_events(service)
    assert [] == service.list_alerts()


def test_retry_resolves_it(service: InProcessService) -> None:
    task = make_late_result(service)
    service.decline(task, "A", 2)
    assert ["late_result", "quarantined"] == sorted(alert.kind for alert in service.list_alerts())
    service.retry(task)
    assert [] == service.list_alerts()


def test_queueing_resolves_it(service: InProcessService) -> None:
    item = service.add_to_backlog()
    service.queue(item.id)
    claim_task(service)
    service.reset(item.id)
    service.send_back(item.id)
    hand_in_late(service, item.id)
    assert ["late_result"] == [alert.kind for alert in service.list_alerts()]
    service.queue(item.id)
    assert [] == service.list_alerts()


def test_progress_and_release_do_not_resolve_it(service: InProcessService) -> None:
    task = make_late_result(service)
    service.progress(task, "A", 2)
    service.leave("builder", "A")
    assert ["late_result"] == [alert.kind for alert in service.list_alerts()]


def test_result_after_the_end_of_its_task_raises_none(service: InProcessService) -> None:
    task = open_task(service)
    claim_task(service)
    service.cancel(task)
    hand_in_late(service, task)
    assert 1 == len(service.show_task(task).late_results)
    assert [] == late_events(service)


def test_result_that_was_sent_back_raises_none(service: InProcessService) -> None:
    item = service.add_to_backlog()
    service.queue(item.id)
    claim_task(service)
    service.complete(item.id, "A", 1)
    service.send_back(item.id)
    assert 1 == len(service.show_task(item.id).late_results)
    assert [] == service.list_alerts()
