"""Restart holds that a daemon reports: they are shown, and raise an alert while they need a user."""

from collections.abc import Callable
from typing import Any

import pytest

from greenroom.clock import format_instant
from greenroom.domain.principal import MACHINE, Principal
from greenroom.service import roles
from greenroom.wire.replies import RoleView
from greenroom.wire.requests import AgentReport, GiveReason
from tests.service.in_process_service import InProcessService

DAEMON = Principal(scope=MACHINE, machine="m1")


@pytest.fixture
def service() -> InProcessService:
    """A builder a on machine m1, which is connected."""
    new_service = InProcessService()
    new_service.create_room(max_requests=5)
    new_service.register_machine()
    new_service.set_agent_spec("builder")
    new_service.beat_machine()
    join_as_daemon(new_service, "a")
    return new_service


def join_as_daemon(service: InProcessService, connection: str) -> None:
    """Let the daemon of m1 join as builder, if the role is vacant."""
    call_as_daemon(service, lambda: service.join("builder", connection, if_vacant=True))


def call_as_daemon(service: InProcessService, call: Callable[[], Any]) -> Any:
    previous_caller, service.principal = service.principal, DAEMON
    try:
        return call()
    finally:
        service.principal = previous_caller


def claim_new_task(service: InProcessService, connection: str) -> tuple[str, int]:
    """Let the daemon's agent claim a new task; return its id and attempt."""
    claimed = service.join_and_claim_as(DAEMON, "builder", connection)
    return claimed.id, claimed.attempt


def instant_in(service: InProcessService, seconds: float) -> str:
    return format_instant(service.clock.wall() + seconds)


def make_report(kind: str, connection: str = "a", **more: Any) -> AgentReport:
    fields = {"id": f"{kind}.{connection}.{more.get('task')}", "room": "r", "role": "builder", **more}
    return AgentReport(kind=kind, connection_id=connection, **fields)  # type: ignore[arg-type]


def send_reports(service: InProcessService, *reports: AgentReport) -> int:
    accepted: int = call_as_daemon(service, lambda: service.send_reports(*reports)).accepted
    return accepted


def builder_view(service: InProcessService) -> RoleView:
    return service.show_room().roles[0]


def builder_status(service: InProcessService) -> tuple[str, str | None, str | None]:
    view = builder_view(service)
    return view.status, view.status_reason, view.status_until


def list_alert_kinds(service: InProcessService) -> list[str]:
    """The kinds of alerts that are raised for the role, without those about tasks."""
    raised_by_kind: dict[str, bool] = {}
    for event in service.events():
        if event.type.startswith("alert.") and event.data["kind"] in ("crash_looping", "paused"):
            raised_by_kind[event.data["kind"]] = event.type == "alert.raised"
    return [kind for kind, is_raised in raised_by_kind.items() if is_raised]


def crash_loop_until_restart(service: InProcessService) -> None:
    send_reports(
        service, make_report("exited", code=3), make_report("crash_looping", detail="it failed again in its probe run")
    )


# Backing off.


def test_backoff_is_shown_until_it_ends(service: InProcessService) -> None:
    until = instant_in(service, 40)
    send_reports(service, make_report("exited", code=3, until=until))
    assert builder_status(service) == ("backing_off", "exited with code 3", until)
    service.pass_time(10)
    service.beat_machine()
    assert builder_status(service)[0] == "backing_off"
    service.clock.advance(31)
    service.beat_machine()
    assert builder_status(service) == ("starting", "machine m1 is about to start the agent", instant_in(service, 59))
    join_as_daemon(service, "b")
    assert builder_status(service) == ("waiting", None, None)


def test_reports_become_events_once_in_order(service: InProcessService) -> None:
    reports = (
        make_report("exited", code=3, until=instant_in(service, 1)),
        make_report("crash_looping", until=instant_in(service, 300), detail="too often"),
    )
    assert (send_reports(service, *reports), send_reports(service, *reports)) == (2, 0)
    agent_events = [
        event for event in service.events() if event.type.startswith("agent.") and event.type != "agent.configured"
    ]
    assert [(event.type, event.cause) for event in agent_events] == [
        ("agent.exited", "exited"),
        ("agent.crash_looping", "too often"),
    ]
    assert builder_status(service) == ("crash_looping", "too often", reports[1].until)


# Crash-looping.


def test_probe_run_until_task_completes(service: InProcessService) -> None:
    send_reports(
        service,
        make_report("exited", code=3),
        make_report("crash_looping", until=instant_in(service, 60), detail="3 ends in 5 min"),
    )
    assert list_alert_kinds(service) == []
    service.clock.advance(61)
    service.beat_machine()
    assert builder_status(service)[:2] == ("starting", "machine m1 is about to start a probe run")
    join_as_daemon(service, "b")
    assert builder_status(service)[:2] == ("waiting", "probe run after crash-looping: 3 ends in 5 min")
    task, attempt = claim_new_task(service, "b")
    assert builder_status(service)[:2] == ("working", "probe run after crash-looping: 3 ends in 5 min")
    service.complete(task, "b", attempt)
    send_reports(service, make_report("recovered", "b"))
    assert builder_status(service) == ("waiting", None, None)
    assert "agent.recovered" in service.event_types()


def test_probe_failure_spares_task_and_raises_alert(service: InProcessService) -> None:
    send_reports(service, make_report("exited", code=3), make_report("crash_looping", until=instant_in(service, 60)))
    service.clock.advance(61)
    service.beat_machine()
    task, attempt = claim_new_task(service, "b")
    failed_probe = make_report("exited", "b", task=task, attempt=attempt, code=4, probe=True)
    send_reports(service, failed_probe)
    assert (builder_status(service)[0], list_alert_kinds(service)) == ("starting", [])
    assert ("pending", "exited", 0) == (
        service.show_task(task).status,
        service.show_task(task).released_cause,
        service.show_task(task).failures,
    )
    send_reports(service, make_report("crash_looping", "b", detail="it failed again in its probe run"))
    assert builder_status(service) == (
        "crash_looping",
        "it failed again in its probe run; fix the cause, then run `greenroom agent restart r/builder`",
        None,
    )
    assert list_alert_kinds(service) == ["crash_looping"]
    alert_event = next(
        event for event in service.events() if event.type == "alert.raised" and "crash_looping" in event.cause
    )
    assert alert_event.data["text"].startswith("r/builder is crash-looping: it failed again in its probe run; ")


def test_probe_failure_reported_without_task(service: InProcessService) -> None:
    task, _ = claim_new_task(service, "a")
    send_reports(service, make_report("exited", code=4, probe=True))
    assert (service.show_task(task).status, service.show_task(task).failures) == ("pending", 0)


# Paused.


def test_timed_pause_raises_no_alert(service: InProcessService) -> None:
    task, attempt = claim_new_task(service, "a")
    until = instant_in(service, 600)
    exit_report = make_report("exited", task=task, attempt=attempt, code=1, intended=True)
    send_reports(service, exit_report, make_report("paused", until=until, detail="the provider's limit is reached"))
    assert builder_status(service) == ("paused", "the provider's limit is reached", until)
    assert (service.show_task(task).status, service.show_task(task).failures) == ("pending", 0)
    assert (list(service.show_room().participants), list_alert_kinds(service)) == ([], [])
    assert call_as_daemon(service, lambda: service.leave("builder", "a", cause="stopped")) == "ok"


@pytest.mark.parametrize(
    "until",
    ["9999-12-31T23:59:59.000Z", "9999-12-31T23:59:59.9999Z", "0001-01-01T00:00:00Z", "-1", "NaN", "1e400", "soon", ""],
)
@pytest.mark.parametrize("kind", ["paused", "crash_looping", "exited"])
def test_absurd_end_of_a_hold(service: InProcessService, kind: str, until: str) -> None:
    """No role waits longer than a day without an alert, whatever a daemon reports."""
    claim_new_task(service, "a")
    send_reports(service, make_report(kind, until=until, detail="the limit is reached"))
    view = builder_view(service)
    latest = instant_in(service, service.limits.pause_s_max)
    assert view.status_until is None or view.status_until < latest
    has_alert = kind != "exited" and not until.startswith("0001")
    assert list_alert_kinds(service) == ([kind] if has_alert else [])
    if until.startswith("9999-12-31T23:59:59.000") and has_alert:
        assert f"the limit is reached; its end, {until}, is too far away to wait for" in str(view.status_reason)


def test_open_ended_pause_raises_alert(service: InProcessService) -> None:
    send_reports(service, make_report("paused", detail="not logged in"))
    advice = "not logged in; fix the cause, then run `greenroom agent restart r/builder`"
    assert builder_status(service) == ("paused", advice, None)
    assert list_alert_kinds(service) == ["paused"]
    assert f"r/builder is paused: {advice}." in [event.data.get("text") for event in service.events()]


def test_crash_looping_shown_while_machine_is_gone(service: InProcessService) -> None:
    crash_loop_until_restart(service)
    service.beat_machine(leaving=True)
    assert builder_status(service)[0] == "crash_looping"


# What ends a restart hold.


def restart_agent(service: InProcessService) -> None:
    service.run_mutation(lambda tx: roles.restart(service.context, tx, service.principal, "r", "builder", GiveReason()))


ENDS: tuple[Callable[[InProcessService], object], ...] = (
    restart_agent,
    lambda service: service.set_agent_spec("builder", desired="stopped"),
    lambda service: service.set_agent_spec("builder", machine=None),
    lambda service: service.join("builder", "user_agent"),
    lambda service: service.change_room(roles=["reviewer"], entry_role="reviewer"),
    lambda service: service.close_room(),
    lambda service: send_reports(service, make_report("recovered")),
)


@pytest.mark.parametrize("end", ENDS, ids=["restart", "stop", "custom", "user", "removed", "closed", "recovered"])
def test_alert_is_resolved_by(service: InProcessService, end: Callable[[InProcessService], object]) -> None:
    crash_loop_until_restart(service)
    assert list_alert_kinds(service) == ["crash_looping"]
    end(service)
    assert list_alert_kinds(service) == []


def test_restart_clears_hold(service: InProcessService) -> None:
    crash_loop_until_restart(service)
    restart_agent(service)
    assert builder_status(service)[0] == "starting"
    join_as_daemon(service, "b")
    assert builder_status(service) == ("waiting", None, None)


def test_user_join_and_leave_keeps_hold(service: InProcessService) -> None:
    crash_loop_until_restart(service)
    service.join("builder", "user_agent")
    assert builder_status(service) == ("waiting", None, None)
    service.leave("builder", "user_agent")
    assert builder_status(service)[0] == "crash_looping"
    assert list_alert_kinds(service) == ["crash_looping"]


def test_user_expiry_keeps_hold(service: InProcessService) -> None:
    crash_loop_until_restart(service)
    service.join("builder", "user_agent")
    for _ in range(5):
        service.pass_time(25)
        service.beat_machine()
    assert list_alert_kinds(service) == ["crash_looping"]
    service.join("builder", "user_agent")
    assert list_alert_kinds(service) == []


def test_daemon_join_and_task_end_hold(service: InProcessService) -> None:
    crash_loop_until_restart(service)
    join_as_daemon(service, "b")
    assert (builder_status(service)[0], list_alert_kinds(service)) == ("waiting", [])
    task, attempt = claim_new_task(service, "b")
    service.complete(task, "b", attempt)
    assert (builder_status(service), list_alert_kinds(service)) == (("waiting", None, None), [])


# Outdated reports.


def test_report_of_older_generation_only_logged(service: InProcessService) -> None:
    """The daemon was offline when a user restarted the role: its old report must not stop the restarts again."""
    generation = builder_view(service).generation
    restart_agent(service)
    old_reports = (
        make_report("exited", code=3, generation=generation),
        make_report("crash_looping", generation=generation),
    )
    assert send_reports(service, *old_reports) == 2
    assert "agent.crash_looping" in service.event_types()
    assert (builder_status(service)[0], list_alert_kinds(service)) == ("starting", [])


def test_report_of_older_participant_only_logged(service: InProcessService) -> None:
    call_as_daemon(service, lambda: service.join("builder", "b"))
    assert (
        send_reports(service, make_report("exited", code=3, until=instant_in(service, 60)), make_report("paused")) == 2
    )
    assert (builder_status(service)[0], list_alert_kinds(service)) == ("waiting", [])
    assert ["b"] == [each.connection_id for each in service.show_room().participants]
    service.leave("builder", "b")
    assert (builder_status(service)[0], list_alert_kinds(service)) == ("starting", [])


def test_report_of_reassigned_role_only_logged(service: InProcessService) -> None:
    service.register_machine("m2")
    service.set_agent_spec("builder", machine="m2")
    service.beat_machine(machine="m2")
    assert (
        send_reports(
            service, make_report("exited", code=3, until=instant_in(service, 60)), make_report("crash_looping")
        )
        == 2
    )
    assert (builder_status(service)[0], list_alert_kinds(service)) == ("starting", [])


def test_recovery_report_keeps_pause(service: InProcessService) -> None:
    send_reports(service, make_report("paused", detail="not logged in"), make_report("recovered"))
    assert builder_status(service)[0] == "paused"
