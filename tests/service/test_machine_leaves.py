"""What a machine may still do for its agents once their role was assigned elsewhere."""

import pytest

from greenroom.clock import instant_of
from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.domain.errors import Refused, Superseded
from greenroom.wire.requests import Fact
from tests.service.house import House


@pytest.mark.parametrize("elsewhere", [None, "m2"], ids=["to a person", "to another machine"])
def test_a_machine_can_leave_a_role_that_was_wished_away_from_it(elsewhere: str | None) -> None:
    house = a_house_with_an_agent()
    house.register("m2")
    house.wish("builder", machine=elsewhere)
    house.caller = Caller(scope=MACHINE, machine="m1")
    assert house.leave("builder", "c1", cause="stopped") == "ok"
    assert house.leave("builder", "c1", cause="stopped") == "ok"
    with pytest.raises(Refused):
        house.join("builder", "c2")


def test_a_machine_cannot_end_what_another_sits_in() -> None:
    house = a_house_with_an_agent()
    house.register("m2")
    house.caller = Caller(scope=MACHINE, machine="m2")
    with pytest.raises(Refused):
        house.leave("builder", "c1")


def test_an_agent_that_could_not_be_run_is_shown_with_its_reason() -> None:
    house = a_house_with_an_agent()
    detail = "This machine's configuration defines no harness 'x'.\nand more"
    until = instant_of(house.clock.wall() + 60)
    house.report(Fact(id="f1", kind="exited", room="r", role="builder", connection_id="c1", until=until, detail=detail))
    builder = house.look().roles[0]
    assert (builder.status, builder.status_reason) == ("backing_off", detail.partition("\n")[0])


def a_house_with_an_agent() -> House:
    house = House()
    house.room()
    house.register("m1")
    house.wish("builder")
    operator, house.caller = house.caller, Caller(scope=MACHINE, machine="m1")
    house.beat_machine()
    house.join("builder", "c1")
    house.caller = operator
    return house


# Work in progress when the role is assigned elsewhere.


def at_work_when_wished_away() -> tuple[House, str]:
    house = a_house_with_an_agent()
    house.register("m2")
    task = house.send().task
    assert task is not None
    house.caller = Caller(scope=MACHINE, machine="m1")
    assert house.claim("builder", "c1") is not None
    house.caller = THE_OPERATOR
    house.wish("builder", machine="m2")
    house.caller = Caller(scope=MACHINE, machine="m2")
    house.beat_machine(machine="m2", incarnation="i2")
    house.caller = Caller(scope=MACHINE, machine="m1")
    return house, task.id


def test_its_result_counts_as_long_as_nobody_else_has_the_task() -> None:
    house, task = at_work_when_wished_away()
    assert "completed" == house.complete(task, "c1", 1).status


def test_its_result_is_a_late_one_when_the_other_machine_has_taken_over() -> None:
    house, task = at_work_when_wished_away()
    house.caller = Caller(scope=MACHINE, machine="m2")
    house.join("builder", "c2")
    house.caller = Caller(scope=MACHINE, machine="m3")
    with pytest.raises(Refused):
        house.complete(task, "c1", 1)
    house.caller = Caller(scope=MACHINE, machine="m1")
    with pytest.raises(Superseded):
        house.complete(task, "c1", 1, "what c1 had")
    house.caller = THE_OPERATOR
    assert ["what c1 had"] == [late.text for late in house.task(task).late_results]


def test_its_silence_is_no_death_although_the_other_machine_is_connected() -> None:
    house, task = at_work_when_wished_away()
    house.caller = Caller(scope=MACHINE, machine="m2")
    for _ in range(10):
        house.pass_time(house.limits.daemon_heartbeat_interval_s)
        house.beat_machine(machine="m2", incarnation="i2")
    house.caller = THE_OPERATOR
    assert ("pending", "lost", 0) == (house.task(task).status, house.task(task).released_cause, house.task(task).deaths)
