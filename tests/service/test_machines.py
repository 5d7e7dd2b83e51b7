"""A machine and its agents: they stay present while it beats, expire with it and return with it."""

import pytest

from greenroom.domain.caller import THE_OPERATOR
from greenroom.domain.errors import Superseded
from greenroom.service import connecting
from greenroom.wire import requests
from tests.service.house import House
from tests.service.team import DAEMON, seat_for_daemon, statuses


def team() -> House:
    house = House()
    seat_for_daemon(house)
    return house


def exited(fact: str, task: str, attempt: int, connection: str = "a") -> requests.Fact:
    return requests.Fact(
        id=fact, kind="exited", room="r", role="builder", connection_id=connection, task=task, attempt=attempt, code=1
    )


def test_agents_of_a_machine_last_as_long_as_it_beats() -> None:
    house = team()
    for _ in range(20):
        house.pass_time(30)
        reply = house.beat_machine(("builder", "a"), ("reviewer", "b"))
        assert ["ok", "ok"] == [agent.status for agent in reply.agents]
    assert ["a", "b"] == [each.connection_id for each in house.look().participants]
    assert "participant.expired" not in house.event_types()


def test_while_the_machine_is_silent_its_agents_are_unknown_and_then_offline() -> None:
    house = team()
    house.pass_time(35)
    assert {"builder": "unknown", "reviewer": "unknown"} == statuses(house)
    house.pass_time(90)
    assert {"builder": "offline", "reviewer": "offline"} == statuses(house)
    assert 1 == house.event_types().count("machine.disconnected")
    assert 2 == house.event_types().count("participant.expired")


def test_its_next_beat_restores_it_and_seats_its_agents_in_one_transaction() -> None:
    house = team()
    house.send()
    task = house.claim("builder", "a")
    assert task is not None
    house.pass_time(300)
    assert not house.machine().daemon_connected
    assert "pending" == house.task(task.id).status
    before = len(house.events())
    reply = house.beat_machine(("builder", "a"), ("reviewer", "b"))
    assert (True, "ok") == (reply.daemon_connected, reply.status)
    assert [("ok", task.id), ("ok", None)] == [(a.status, a.task.id if a.task else None) for a in reply.agents]
    told = [event.type for event in house.events()[before:]]
    assert ["machine.reconnected", "task.resumed", "participant.rejoined", "participant.rejoined"] == told
    assert (task.attempt, "a") == (house.task(task.id).attempt, house.task(task.id).claimed_by)
    assert house.machine().daemon_connected


def test_a_silent_machine_is_no_death_of_what_its_agents_worked_on() -> None:
    house = team()
    house.send()
    task = house.claim("builder", "a")
    assert task is not None
    house.pass_time(300)
    assert ("pending", 0) == (house.task(task.id).status, house.task(task.id).deaths)


def test_an_agent_whose_role_somebody_newer_took_is_superseded() -> None:
    house = team()
    house.pass_time(300)
    house.join("builder", "person")
    reply = house.beat_machine(("builder", "a"), ("reviewer", "b"))
    assert ["superseded", "ok"] == [agent.status for agent in reply.agents]


def test_an_exit_that_is_reported_frees_the_task_at_once_and_is_taken_once() -> None:
    house = team()
    house.send()
    task = house.claim("builder", "a")
    assert task is not None
    assert 1 == house.report(exited("f1", task.id, task.attempt)).accepted
    assert ("pending", "exited", 1) == (
        house.task(task.id).status,
        house.task(task.id).released_cause,
        house.task(task.id).deaths,
    )
    assert 0 == house.report(exited("f1", task.id, task.attempt)).accepted
    assert 1 == house.event_types().count("agent.exited")
    house.caller = DAEMON
    house.join("builder", "a2")
    again = house.claim("builder", "a2")
    assert again is not None
    assert (task.id, task.attempt + 1) == (again.id, again.attempt)


def test_an_exit_of_a_sitting_that_is_not_the_holder_changes_only_the_log() -> None:
    house = team()
    house.send()
    task = house.claim("builder", "a")
    assert task is not None
    house.join("builder", "newer")
    house.pass_time(house.limits.takeover_grace_s)
    taken = house.claim("builder", "newer")
    assert taken is not None
    house.report(exited("f1", task.id, task.attempt))
    assert ("acknowledged", "newer") == (house.task(task.id).status, house.task(task.id).claimed_by)
    assert ["newer"] == [each.connection_id for each in house.look().participants if each.role == "builder"]


def test_a_task_under_which_three_attempts_died_is_set_apart() -> None:
    house = team()
    sent = house.send().task
    assert sent is not None
    house.caller = DAEMON
    connection = "a"
    for death in range(3):
        task = house.claim("builder", connection)
        assert task is not None
        house.report(exited(f"f{death}", task.id, task.attempt, connection))
        connection = f"a{death}"
        house.join("builder", connection)
    house.caller = THE_OPERATOR
    assert ("quarantined", 3) == (house.task(sent.id).status, house.task(sent.id).deaths)
    assert house.claim("builder", connection) is None


def test_a_new_incarnation_without_its_agents_ends_them() -> None:
    house = team()
    house.send()
    task = house.claim("builder", "a")
    assert task is not None
    house.beat_machine(incarnation="i2")
    assert [] == list(house.look().participants)
    assert ("pending", "exited") == (house.task(task.id).status, house.task(task.id).released_cause)


def test_the_newest_incarnation_wins_and_the_older_is_told_to_stop() -> None:
    house = team()
    house.beat_machine(incarnation="i2")
    assert "superseded" == house.beat_machine(("builder", "a"), incarnation="i1").status
    with pytest.raises(Superseded, match="newer incarnation"):
        house.report(incarnation="i1")


def test_the_last_beat_of_a_stopped_daemon_says_so_at_once() -> None:
    house = team()
    body = requests.MachineHeartbeat(incarnation="i1", leaving=True)
    reply = house.write(lambda tx: connecting.reconnect(house.world, tx, DAEMON, "m1", body))
    assert not reply.daemon_connected
    assert {"builder": "offline", "reviewer": "offline"} == statuses(house)
    assert house.beat_machine(("builder", "a")).daemon_connected


def test_a_wish_is_read_by_the_machines_that_it_concerns() -> None:
    house = team()
    house.register("m2")
    before = house.machine("m1"), house.world.leases.machines["m1"].wishes_version
    house.wish("builder", machine="m2", desired="stopped")
    assert before[1] + 1 == house.world.leases.machines["m1"].wishes_version
    assert "stopping" == statuses(house)["builder"]
