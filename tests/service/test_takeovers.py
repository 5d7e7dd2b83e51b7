"""Takeover of a role at work: its task waits until the former holder's run has stopped."""

from collections.abc import Callable

import pytest

from greenroom.domain.caller import THE_OPERATOR
from greenroom.domain.errors import Superseded
from greenroom.service import decisions
from greenroom.service.signals import claim_key, wishes_key
from greenroom.store.transaction import Transaction
from greenroom.wire.requests import AddNote, Fact
from tests.service.house import House
from tests.service.scenarios import DAEMON, make_service_with_daemon_task


@pytest.fixture
def service() -> House:
    """A builder a at work, whose role b has taken over."""
    new_service = House()
    new_service.room(max_requests=3)
    new_service.working("builder", "a")
    new_service.join("builder", "b")
    return new_service


def exit_report(connection: str, task: str | None = None, attempt: int | None = None, intended: bool = True) -> Fact:
    return Fact(
        id=f"{connection}.{task}",
        kind="exited",
        room="r",
        role="builder",
        connection_id=connection,
        task=task,
        attempt=attempt,
        intended=intended,
    )


def first_task_id(service: House) -> str:
    return service.look().tasks[0].id


def test_taken_over_task_waits_with_reason(service: House) -> None:
    assert service.claim("builder", "b") is None
    builder = service.look().roles[0]
    assert (builder.status, builder.status_reason) == (
        "waiting",
        "its task was taken over from a, whose run is being stopped",
    )
    assert builder.status_until is not None
    with pytest.raises(Superseded):
        service.complete(first_task_id(service), "a", 1)
    with pytest.raises(Superseded):
        service.claim("builder", "a")


def test_wait_ends_after_grace(service: House) -> None:
    woken: list[float] = []
    service.world.signals.watch(
        claim_key(service.look().id, "builder"), lambda: woken.append(service.clock.monotonic())
    )
    began = service.clock.monotonic()
    service.pass_time(service.limits.takeover_grace_s - 1)
    assert (service.claim("builder", "b"), woken) == (None, [])
    service.pass_time(1)
    assert woken == [began + service.limits.takeover_grace_s]
    claimed = service.claim("builder", "b")
    assert claimed is not None
    assert claimed.attempt == 2
    assert service.look().roles[0].status_reason is None


@pytest.mark.parametrize("cause", ["left", "stopped", "exited"])
def test_leave_of_former_holder_ends_wait(service: House, cause: str) -> None:
    woken: list[str] = []
    service.world.signals.watch(claim_key(service.look().id, "builder"), lambda: woken.append("builder"))
    assert service.leave("builder", "x") == "rejoin_required"
    assert service.claim("builder", "b") is None
    assert service.leave("builder", "a", cause=cause) == "superseded"
    assert woken
    assert service.claim("builder", "b") is not None


def test_wait_keeps_task_order(service: House) -> None:
    later = service.send().task
    assert later is not None
    assert service.claim("builder", "b") is None
    first = first_task_id(service)
    service.leave("builder", "a")
    claimed = service.claim("builder", "b")
    assert claimed is not None
    assert claimed.id == first != later.id


def test_claim_in_takeover_batch_waits() -> None:
    service = House()
    service.room()
    task = service.working("builder", "a")
    claimed = service.claiming("builder", "b")
    batch: list[Callable[[Transaction], object]] = [service.joining("builder", "b"), claimed]
    assert service.store.writer.run_batch(batch)[1].result() is None
    assert service.look().participants[0].connection_id == "b"
    assert service.task(task.id).status == "pending"


def test_failed_takeover_holds_no_task() -> None:
    service = House()
    service.room()
    task = service.working("builder", "a")

    def broken(tx: Transaction) -> None:
        service.joining("builder", "b")(tx)
        raise ValueError("broken on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        service.store.run(broken)
    assert not service.world.guards.holds_back(task.id)


def test_wait_restarts_after_server_restart(service: House) -> None:
    service.pass_time(service.limits.takeover_grace_s - 1)
    service.open()
    service.pass_time(service.limits.takeover_grace_s - 1)
    assert service.claim("builder", "b") is None
    service.open()
    service.leave("builder", "a")
    assert service.claim("builder", "b") is not None


def test_server_downtime_does_not_count(service: House) -> None:
    service.clock.move(60)
    service.pass_time(service.limits.takeover_grace_s - 1)
    assert service.claim("builder", "b") is None
    service.pass_time(2)
    assert service.claim("builder", "b") is not None


def test_no_wait_for_expired_holder() -> None:
    service = House()
    service.room()
    service.working("builder", "a")
    service.pass_time(service.limits.heartbeat_ttl_s + 1)
    service.join("builder", "b")
    assert service.claim("builder", "b") is not None


def test_chained_takeovers_wait_for_last_holder(service: House) -> None:
    service.leave("builder", "a")
    assert service.claim("builder", "b") is not None
    service.join("builder", "c")
    service.leave("builder", "a")
    assert service.claim("builder", "c") is None
    service.leave("builder", "b")
    assert service.claim("builder", "c") is not None


# Runs of a daemon.


@pytest.fixture
def daemon_service() -> House:
    """A daemon's builder a at work, whose role a user's agent b has taken over."""
    new_service, _ = make_service_with_daemon_task()
    new_service.join("builder", "b")
    return new_service


def test_beat_naming_former_holder_keeps_wait(daemon_service: House) -> None:
    daemon_service.caller = DAEMON
    assert daemon_service.beat_machine(("builder", "a")).agents[0].status == "superseded"
    daemon_service.caller = THE_OPERATOR
    assert daemon_service.claim("builder", "b") is None


def test_takeover_wakes_daemon() -> None:
    service, _ = make_service_with_daemon_task()
    service.caller = DAEMON
    known = service.beat_machine(("builder", "a")).wishes_version
    woken: list[str] = []
    service.world.signals.watch(wishes_key("m1"), lambda: woken.append("m1"))
    service.caller = THE_OPERATOR
    service.join("builder", "b")
    assert ["m1"] == woken
    service.caller = DAEMON
    assert known + 1 == service.beat_machine(("builder", "a")).wishes_version


@pytest.mark.parametrize("decision", ["cancel", "reset", "note"])
def test_user_decision_wakes_daemon(decision: str) -> None:
    service, held = make_service_with_daemon_task()
    task, service.caller = held.id, DAEMON
    known = service.beat_machine(("builder", "a")).wishes_version
    service.caller = THE_OPERATOR
    if decision == "note":
        note = AddNote(text="mind the step")
        service.write(lambda tx: decisions.note(service.world, tx, THE_OPERATOR, task, note))
    else:
        service.move(getattr(decisions, decision), task)
    service.caller = DAEMON
    assert known + 1 == service.beat_machine(("builder", "a")).wishes_version


def test_beat_without_former_holder_ends_wait(daemon_service: House) -> None:
    daemon_service.register("m2")
    daemon_service.beat_machine(machine="m2", incarnation="x")
    assert daemon_service.claim("builder", "b") is None
    daemon_service.caller = DAEMON
    daemon_service.beat_machine()
    daemon_service.caller = THE_OPERATOR
    assert daemon_service.claim("builder", "b") is not None


def test_beat_of_new_incarnation_ends_wait(daemon_service: House) -> None:
    daemon_service.caller = DAEMON
    daemon_service.beat_machine(incarnation="i2")
    daemon_service.caller = THE_OPERATOR
    assert daemon_service.claim("builder", "b") is not None


def test_beat_of_older_incarnation_keeps_wait(daemon_service: House) -> None:
    daemon_service.caller = DAEMON
    daemon_service.beat_machine(("builder", "a"), incarnation="i2")
    daemon_service.beat_machine(incarnation="i1")
    daemon_service.caller = THE_OPERATOR
    assert daemon_service.claim("builder", "b") is None


def test_exit_report_ends_wait(daemon_service: House) -> None:
    task = first_task_id(daemon_service)
    daemon_service.caller = DAEMON
    daemon_service.report(exit_report("a", "task_before", 1))
    daemon_service.caller = THE_OPERATOR
    assert daemon_service.claim("builder", "b") is None, "the exit of an earlier run ended the wait"
    daemon_service.caller = DAEMON
    daemon_service.report(exit_report("a", task, 1))
    daemon_service.caller = THE_OPERATOR
    claimed = daemon_service.claim("builder", "b")
    assert claimed is not None
    assert (claimed.attempt, claimed.deaths) == (2, 0)


def test_leaving_daemon_ends_wait(daemon_service: House) -> None:
    daemon_service.caller = DAEMON
    daemon_service.beat_machine(leaving=True)
    daemon_service.caller = THE_OPERATOR
    assert daemon_service.claim("builder", "b") is not None


def test_new_generation_does_not_wait() -> None:
    """A daemon stops its run and leaves before it joins again, so nothing is taken over."""
    service, task = make_service_with_daemon_task()
    service.caller = DAEMON
    service.report(exit_report("a", task.id, 1))
    service.leave("builder", "a", cause="stopped")
    service.join("builder", "a2", if_vacant=True)
    assert service.claim("builder", "a2") is not None
