import pytest

from greenroom.clock import instant_of
from greenroom.domain.caller import MACHINE, Caller
from greenroom.domain.errors import Refused
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
