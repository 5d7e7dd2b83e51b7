"""Two daemons that beat for one machine: the newest has it, and one alert lasts while the older still beats."""

import pytest

from greenroom.domain.event import Event
from greenroom.service import machine_heartbeats, sweeper
from greenroom.service.state.cloned_machines import ClonedMachines
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import MachineHeartbeatReply
from greenroom.wire.requests import MachineHeartbeat
from tests.service.in_process_server import InProcessServer
from tests.service.in_process_service import InProcessService

ALERT_KEY = "machine_cloned:m1"


@pytest.fixture
def service() -> InProcessService:
    new_service = InProcessService()
    new_service.register_machine()
    new_service.beat_machine(incarnation="i1")
    return new_service


def list_clone_events(service: InProcessService) -> list[Event]:
    """The events about the cloned machine, in order."""
    return [event for event in service.events() if event.type == "machine.cloned" or event.data.get("id") == ALERT_KEY]


def clone_event_types(service: InProcessService) -> list[str]:
    return [event.type for event in list_clone_events(service)]


def beat_in_turns(service: InProcessService, seconds: float) -> None:
    """Let both daemons beat in turns."""
    for _ in range(int(seconds / 20)):
        service.pass_time(20)
        assert "superseded" == service.beat_machine(incarnation="i1").status
        assert "ok" == service.beat_machine(incarnation="i2").status


def test_alternating_beats_raise_one_alert(service: InProcessService) -> None:
    service.beat_machine(incarnation="i2")
    before = len(service.events())
    beat_in_turns(service, 2 * service.limits.duplicate_machine_alert_s)
    cloned, raised = list_clone_events(service)
    assert (cloned.type, raised.type, len(service.events())) == ("machine.cloned", "alert.raised", before + 2)
    assert (cloned.stream, cloned.data["older"], cloned.data["incarnation"]) == ("machine:m1", "i1", "i2")
    assert "remove the file `machine.json` from the data directory of the copy" in raised.data["text"]


def test_alert_resolved_after_older_daemon_is_silent(service: InProcessService) -> None:
    service.beat_machine(incarnation="i2")
    beat_in_turns(service, 400)
    service.pass_time(service.limits.duplicate_machine_alert_s - 10)
    assert clone_event_types(service) == ["machine.cloned", "alert.raised"]
    service.pass_time(12)
    assert clone_event_types(service) == ["machine.cloned", "alert.raised", "alert.resolved"]
    service.beat_machine(incarnation="i1")
    assert clone_event_types(service)[3:] == ["machine.cloned", "alert.raised"]


def test_alert_across_server_restart(service: InProcessService) -> None:
    service.beat_machine(incarnation="i2")
    beat_in_turns(service, 40)
    service.clock.advance(3 * service.limits.duplicate_machine_alert_s)
    service.restart_server()
    service.pass_time(service.limits.duplicate_machine_alert_s - 60)
    beat_in_turns(service, 40)
    service.restart_server()
    assert clone_event_types(service) == ["machine.cloned", "alert.raised"]
    service.pass_time(service.limits.duplicate_machine_alert_s + 2)
    assert clone_event_types(service)[2:] == ["alert.resolved"]


def test_server_downtime_is_no_silence(service: InProcessService) -> None:
    service.beat_machine(incarnation="i2")
    beat_in_turns(service, 20)
    service.clock.advance(3 * service.limits.duplicate_machine_alert_s)
    service.pass_time(20)
    assert clone_event_types(service) == ["machine.cloned", "alert.raised"]


def test_late_leave_is_no_clone(service: InProcessService) -> None:
    service.beat_machine(incarnation="i2")
    assert "superseded" == service.beat_machine(incarnation="i1", leaving=True).status
    assert list_clone_events(service) == []


def test_daemon_restarts_are_no_clones(service: InProcessService) -> None:
    for number in range(2, 6):
        service.beat_machine(incarnation=f"i{number}")
    assert list_clone_events(service) == []


def test_deleted_machine_resolves_alert(service: InProcessService) -> None:
    service.beat_machine(incarnation="i2")
    beat_in_turns(service, 20)
    service.delete_machine()
    assert clone_event_types(service) == ["machine.cloned", "alert.raised", "alert.resolved"]
    assert 0 == len(service.context.cloned_machines)


def test_wait_restarted_before_commit(service: InProcessService) -> None:
    """The server was absent between the heartbeat of the older daemon and its commit."""
    service.beat_machine(incarnation="i2")
    body = MachineHeartbeat(incarnation="i1", agents=[])

    def beat_before_absence(tx: Transaction) -> MachineHeartbeatReply:
        reply = machine_heartbeats.process_heartbeat(service.context, tx, service.principal, "m1", body)
        service.clock.advance(service.limits.daemon_heartbeat_ttl_s)
        sweeper.tick(service.context)
        return reply

    service.run_mutation(beat_before_absence)
    assert clone_event_types(service) == ["machine.cloned", "alert.raised"]
    service.pass_time(service.limits.duplicate_machine_alert_s + 2)
    assert clone_event_types(service) == ["machine.cloned", "alert.raised", "alert.resolved"]


def test_older_record_does_not_shorten_wait() -> None:
    machines = ClonedMachines()
    machines.record("m1", 10.0)
    machines.restart_waits(100.0)
    machines.record("m1", 10.0)
    assert [] == machines.restart_overdue(109.0, 10.0)
    assert ["m1"] == machines.restart_overdue(110.0, 10.0)
    assert [] == machines.restart_overdue(119.0, 10.0)


def test_alert_over_http() -> None:
    """A daemon that has hung up raises no alert: see `test_http_long_poll`."""
    with InProcessServer() as server:
        server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
        answers = [
            server.post("/api/v1/machines/m1/heartbeat", {"incarnation": incarnation}).json["status"]
            for incarnation in ("i1", "i2", "i1")
        ]
        raised = [each["id"] for each in server.get("/api/v1/alerts").json]
    assert (answers, raised) == (["ok", "ok", "superseded"], [ALERT_KEY])
