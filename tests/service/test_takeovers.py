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
from tests.service.team import DAEMON, at_work_for_daemon


@pytest.fixture
def house() -> House:
    """A builder a at work, whose role b has taken over."""
    made = House()
    made.room(max_requests=3)
    made.working("builder", "a")
    made.join("builder", "b")
    return made


def exited(connection: str, task: str | None = None, attempt: int | None = None, intended: bool = True) -> Fact:
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


def the_task(house: House) -> str:
    return house.look().tasks[0].id


def test_what_was_taken_over_waits_and_says_so(house: House) -> None:
    assert house.claim("builder", "b") is None
    builder = house.look().roles[0]
    assert (builder.status, builder.status_reason) == (
        "waiting",
        "its task was taken over from a, whose run is being stopped",
    )
    assert builder.status_until is not None
    with pytest.raises(Superseded):
        house.complete(the_task(house), "a", 1)
    with pytest.raises(Superseded):
        house.claim("builder", "a")


def test_it_waits_no_longer_than_the_grace(house: House) -> None:
    woken: list[float] = []
    house.world.signals.watch(claim_key(house.look().id, "builder"), lambda: woken.append(house.clock.monotonic()))
    began = house.clock.monotonic()
    house.pass_time(house.limits.takeover_grace_s - 1)
    assert (house.claim("builder", "b"), woken) == (None, [])
    house.pass_time(1)
    assert woken == [began + house.limits.takeover_grace_s]
    claimed = house.claim("builder", "b")
    assert claimed is not None
    assert claimed.attempt == 2
    assert house.look().roles[0].status_reason is None


@pytest.mark.parametrize("cause", ["left", "stopped", "exited"])
def test_the_word_of_the_former_holder_ends_it_at_once(house: House, cause: str) -> None:
    woken: list[str] = []
    house.world.signals.watch(claim_key(house.look().id, "builder"), lambda: woken.append("builder"))
    assert house.leave("builder", "x") == "rejoin_required"
    assert house.claim("builder", "b") is None
    assert house.leave("builder", "a", cause=cause) == "superseded"
    assert woken
    assert house.claim("builder", "b") is not None


def test_the_order_of_tasks_is_kept(house: House) -> None:
    later = house.send().task
    assert later is not None
    assert house.claim("builder", "b") is None
    first = the_task(house)
    house.leave("builder", "a")
    claimed = house.claim("builder", "b")
    assert claimed is not None
    assert claimed.id == first != later.id


def test_a_claim_in_the_same_batch_as_the_takeover_waits_too() -> None:
    house = House()
    house.room()
    task = house.working("builder", "a")
    claimed = house.claiming("builder", "b")
    batch: list[Callable[[Transaction], object]] = [house.joining("builder", "b"), claimed]
    assert house.store.writer.run_batch(batch)[1].result() is None
    assert house.look().participants[0].connection_id == "b"
    assert house.task(task.id).status == "pending"


def test_a_takeover_that_came_to_nothing_holds_nothing_back() -> None:
    house = House()
    house.room()
    task = house.working("builder", "a")

    def broken(tx: Transaction) -> None:
        house.joining("builder", "b")(tx)
        raise ValueError("broken on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        house.store.run(broken)
    assert not house.world.guards.holds_back(task.id)


def test_after_a_restart_it_waits_anew(house: House) -> None:
    house.pass_time(house.limits.takeover_grace_s - 1)
    house.open()
    house.pass_time(house.limits.takeover_grace_s - 1)
    assert house.claim("builder", "b") is None
    house.open()
    house.leave("builder", "a")
    assert house.claim("builder", "b") is not None


def test_an_absence_of_the_server_does_not_count(house: House) -> None:
    house.clock.move(60)
    house.pass_time(house.limits.takeover_grace_s - 1)
    assert house.claim("builder", "b") is None
    house.pass_time(2)
    assert house.claim("builder", "b") is not None


def test_who_was_gone_already_is_not_waited_for() -> None:
    house = House()
    house.room()
    house.working("builder", "a")
    house.pass_time(house.limits.heartbeat_ttl_s + 1)
    house.join("builder", "b")
    assert house.claim("builder", "b") is not None


def test_a_chain_of_takeovers_waits_for_the_last_who_worked(house: House) -> None:
    house.leave("builder", "a")
    assert house.claim("builder", "b") is not None
    house.join("builder", "c")
    house.leave("builder", "a")
    assert house.claim("builder", "c") is None
    house.leave("builder", "b")
    assert house.claim("builder", "c") is not None


# Runs of a daemon.


@pytest.fixture
def machine() -> House:
    """A daemon's builder a at work, whose role a user's agent b has taken over."""
    made, _ = at_work_for_daemon()
    made.join("builder", "b")
    return made


def test_a_beat_that_still_names_the_former_holder_changes_nothing(machine: House) -> None:
    machine.caller = DAEMON
    assert machine.beat_machine(("builder", "a")).agents[0].status == "superseded"
    machine.caller = THE_OPERATOR
    assert machine.claim("builder", "b") is None


def test_its_daemon_need_not_wait_for_its_next_beat_to_hear_of_it() -> None:
    made, _ = at_work_for_daemon()
    made.caller = DAEMON
    known = made.beat_machine(("builder", "a")).wishes_version
    woken: list[str] = []
    made.world.signals.watch(wishes_key("m1"), lambda: woken.append("m1"))
    made.caller = THE_OPERATOR
    made.join("builder", "b")
    assert ["m1"] == woken
    made.caller = DAEMON
    assert known + 1 == made.beat_machine(("builder", "a")).wishes_version


@pytest.mark.parametrize("decision", ["cancel", "reset", "note"])
def test_nor_to_hear_what_people_decide_about_its_task(decision: str) -> None:
    made, held = at_work_for_daemon()
    task, made.caller = held.id, DAEMON
    known = made.beat_machine(("builder", "a")).wishes_version
    made.caller = THE_OPERATOR
    if decision == "note":
        said = AddNote(text="mind the step")
        made.write(lambda tx: decisions.note(made.world, tx, THE_OPERATOR, task, said))
    else:
        made.move(getattr(decisions, decision), task)
    made.caller = DAEMON
    assert known + 1 == made.beat_machine(("builder", "a")).wishes_version


def test_a_beat_that_names_it_no_more_ends_the_wait(machine: House) -> None:
    machine.register("m2")
    machine.beat_machine(machine="m2", incarnation="x")
    assert machine.claim("builder", "b") is None
    machine.caller = DAEMON
    machine.beat_machine()
    machine.caller = THE_OPERATOR
    assert machine.claim("builder", "b") is not None


def test_so_does_that_of_a_daemon_that_was_started_anew(machine: House) -> None:
    machine.caller = DAEMON
    machine.beat_machine(incarnation="i2")
    machine.caller = THE_OPERATOR
    assert machine.claim("builder", "b") is not None


def test_but_not_that_of_an_older_start(machine: House) -> None:
    machine.caller = DAEMON
    machine.beat_machine(("builder", "a"), incarnation="i2")
    machine.beat_machine(incarnation="i1")
    machine.caller = THE_OPERATOR
    assert machine.claim("builder", "b") is None


def test_the_reported_end_of_the_run_ends_the_wait(machine: House) -> None:
    task = the_task(machine)
    machine.caller = DAEMON
    machine.report(exited("a", "task_before", 1))
    machine.caller = THE_OPERATOR
    assert machine.claim("builder", "b") is None, "the exit of an earlier run ended the wait"
    machine.caller = DAEMON
    machine.report(exited("a", task, 1))
    machine.caller = THE_OPERATOR
    claimed = machine.claim("builder", "b")
    assert claimed is not None
    assert (claimed.attempt, claimed.deaths) == (2, 0)


def test_a_daemon_that_is_stopped_ends_the_wait(machine: House) -> None:
    machine.caller = DAEMON
    machine.beat_machine(leaving=True)
    machine.caller = THE_OPERATOR
    assert machine.claim("builder", "b") is not None


def test_a_new_generation_does_not_wait_for_itself() -> None:
    """A daemon stops its run and leaves before it joins again, so nothing is taken over."""
    house, task = at_work_for_daemon()
    house.caller = DAEMON
    house.report(exited("a", task.id, 1))
    house.leave("builder", "a", cause="stopped")
    house.join("builder", "a2", if_vacant=True)
    assert house.claim("builder", "a2") is not None
