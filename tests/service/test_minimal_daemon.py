"""A daemon that reports only what it must is understood: no `until`, no `probe`, no `generation`, and no leave."""

from typing import Any

import msgspec
import pytest

from greenroom.clock import format_instant
from greenroom.domain.principal import MACHINE, OPERATOR_PRINCIPAL, Principal
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService

DAEMON = Principal(scope=MACHINE, machine="m1")
OTHER = Principal(scope=MACHINE, machine="m2")


class MinimalDaemon:
    """A third party's daemon, which sends only the required fields."""

    def __init__(self) -> None:
        self.service = InProcessService()
        self.service.create_room(max_requests=5)
        for machine in ("m1", "m2"):
            self.service.register_machine(machine)
            self.service.beat_machine(machine=machine)
        self.service.set_agent_spec("builder")
        self.reports_sent = 0

    def join(self, connection: str, caller: Principal = DAEMON) -> None:
        self.service.principal = caller
        assert self.service.join("builder", connection).status == "ok"
        self.service.principal = OPERATOR_PRINCIPAL

    def claim_new_task(self, connection: str) -> tuple[str, int]:
        claimed = self.service.join_and_claim_as(DAEMON, "builder", connection)
        return claimed.id, claimed.attempt

    def report(self, kind: str, connection: str, caller: Principal = DAEMON, **more: Any) -> None:
        self.reports_sent += 1
        body = {
            "id": f"f{self.reports_sent}",
            "kind": kind,
            "room": "r",
            "role": "builder",
            "connection_id": connection,
            **more,
        }
        posted = msgspec.convert(body, AgentReport)
        self.service.principal = caller
        assert self.service.send_reports(posted, machine=caller.machine or "").accepted == 1
        self.service.principal = OPERATOR_PRINCIPAL

    def fail_task(self, connection: str) -> str:
        """Claim a new task and report an exit with code 1."""
        task, attempt = self.claim_new_task(connection)
        self.report("exited", connection, task=task, attempt=attempt, code=1)
        return task

    @property
    def builder_status(self) -> tuple[str, str | None]:
        role = self.service.show_room().roles[0]
        return role.status, role.status_until

    @property
    def participants(self) -> list[str]:
        return [each.connection_id for each in self.service.show_room().participants]

    @property
    def open_alerts(self) -> set[str]:
        raised: set[str] = set()
        for event in self.service.events():
            if event.type.startswith("alert."):
                update = raised.add if event.type == "alert.raised" else raised.discard
                update(event.data["kind"])
        return raised


@pytest.fixture
def daemon() -> MinimalDaemon:
    return MinimalDaemon()


# Exits.


def test_exit_backs_off_until_rejoin(daemon: MinimalDaemon) -> None:
    daemon.fail_task("c1")
    longest = format_instant(daemon.service.clock.wall() + daemon.service.limits.restart_backoff_s_max)
    status_after_exit = daemon.builder_status
    daemon.join("c2")
    assert (status_after_exit, daemon.builder_status) == (("backing_off", longest), ("waiting", None))


def test_exit_without_intended_is_failure(daemon: MinimalDaemon) -> None:
    task, attempt = daemon.claim_new_task("c1")
    daemon.report("exited", "c1", task=task, attempt=attempt, intended=None)
    assert (daemon.service.show_task(task).status, daemon.service.show_task(task).failures) == ("pending", 1)


def test_stopped_role_stops_with_exit(daemon: MinimalDaemon) -> None:
    task, attempt = daemon.claim_new_task("c1")
    daemon.service.set_agent_spec("builder", desired="stopped")
    assert daemon.builder_status[0] == "stopping"
    daemon.report("exited", "c1", task=task, attempt=attempt, signal=15, intended=True)
    assert (daemon.builder_status[0], daemon.participants) == ("stopped", [])
    assert (daemon.service.show_task(task).status, daemon.service.show_task(task).failures) == ("pending", 0)


def test_closed_room_role_stops_with_exit(daemon: MinimalDaemon) -> None:
    daemon.join("c1")
    daemon.service.close_room()
    daemon.report("exited", "c1", code=0, intended=True)
    assert (daemon.builder_status[0], daemon.participants) == ("stopped", [])


def test_moved_role_is_free_with_exit(daemon: MinimalDaemon) -> None:
    task, attempt = daemon.claim_new_task("c1")
    daemon.service.set_agent_spec("builder", machine="m2")
    daemon.report("exited", "c1", task=task, attempt=attempt, signal=15, intended=True)
    assert (daemon.builder_status[0], daemon.participants) == ("starting", [])


def test_intended_exit_keeps_participant(daemon: MinimalDaemon) -> None:
    task, attempt = daemon.claim_new_task("c1")
    daemon.report("exited", "c1", task=task, attempt=attempt, code=0, intended=True)
    assert (daemon.builder_status[0], daemon.participants) == ("waiting", ["c1"])


def test_exit_after_move_keeps_new_participant(daemon: MinimalDaemon) -> None:
    daemon.join("c1")
    daemon.service.set_agent_spec("builder", machine="m2")
    daemon.join("d1", OTHER)
    daemon.report("exited", "c1", code=0, intended=True)
    assert (daemon.builder_status[0], daemon.participants) == ("waiting", ["d1"])


# Crash-looping.


def test_join_while_crash_looping_is_probe_run(daemon: MinimalDaemon) -> None:
    daemon.fail_task("c1")
    daemon.report("crash_looping", "c1")
    assert (daemon.builder_status, daemon.open_alerts) == (("crash_looping", None), {"crash_looping"})
    daemon.join("c2")
    assert (daemon.builder_status, daemon.open_alerts) == (("waiting", None), set())
    assert (daemon.service.show_room().roles[0].status_reason or "").startswith("probe run after crash-looping")
    daemon.report("recovered", "c2")
    assert daemon.service.show_room().roles[0].status_reason is None


def test_probe_run_task_ends_crash_looping(daemon: MinimalDaemon) -> None:
    daemon.fail_task("c1")
    daemon.report("crash_looping", "c1")
    task, attempt = daemon.claim_new_task("c2")
    daemon.service.complete(task, "c2", attempt)
    assert (daemon.builder_status[0], daemon.service.show_room().roles[0].status_reason) == ("waiting", None)
    daemon.report("recovered", "c2")
    assert daemon.builder_status[0] == "waiting"


def test_user_task_keeps_crash_looping(daemon: MinimalDaemon) -> None:
    daemon.fail_task("c1")
    daemon.report("crash_looping", "c1")
    done = daemon.service.join_and_claim("builder", "p1")
    daemon.service.complete(done.id, "p1", done.attempt)
    daemon.service.leave("builder", "p1")
    assert (daemon.builder_status[0], daemon.open_alerts) == ("crash_looping", {"crash_looping"})


def test_probe_run_failure_is_recognised(daemon: MinimalDaemon) -> None:
    daemon.fail_task("c1")
    daemon.report("crash_looping", "c1")
    task, attempt = daemon.claim_new_task("c2")
    failures_before = daemon.service.show_task(task).failures
    daemon.report("exited", "c2", task=task, attempt=attempt, signal=9)
    assert daemon.service.show_task(task).status == "pending"
    assert daemon.service.show_task(task).failures == failures_before, "a failed probe run counted against its task"
    assert (daemon.builder_status, daemon.open_alerts) == (("crash_looping", None), {"crash_looping"})
    exited = [event for event in daemon.service.events() if event.type == "agent.exited"]
    assert [event.data["probe"] for event in exited] == [False, True]


def test_failure_after_restart_is_no_probe_failure(daemon: MinimalDaemon) -> None:
    daemon.fail_task("c1")
    daemon.report("crash_looping", "c1")
    daemon.service.set_agent_spec("builder", desired="stopped")
    daemon.service.set_agent_spec("builder")
    task = daemon.fail_task("c2")
    assert (daemon.service.show_task(task).failures, daemon.builder_status[0]) == (2, "backing_off")


def test_crash_looping_reported_before_exit(daemon: MinimalDaemon) -> None:
    task, attempt = daemon.claim_new_task("c1")
    daemon.report("crash_looping", "c1")
    assert daemon.participants == []
    daemon.report("exited", "c1", task=task, attempt=attempt, code=1)
    assert (daemon.service.show_task(task).status, daemon.service.show_task(task).failures) == ("pending", 1)
    assert (daemon.builder_status[0], daemon.open_alerts) == ("crash_looping", {"crash_looping"})


def test_pause_reported_before_exit(daemon: MinimalDaemon) -> None:
    task, attempt = daemon.claim_new_task("c1")
    daemon.report("paused", "c1")
    daemon.report("exited", "c1", task=task, attempt=attempt, code=1)
    assert (daemon.service.show_task(task).status, daemon.service.show_task(task).failures) == ("pending", 0)
    assert (daemon.builder_status[0], daemon.open_alerts) == ("paused", {"paused"})
