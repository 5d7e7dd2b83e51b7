"""An agent spec is a state: setting what is already set disturbs no agent."""

import pytest

from greenroom.service import roles
from greenroom.wire import requests
from greenroom.wire.replies import RoleView
from tests.service.house import House


@pytest.fixture
def house() -> House:
    made = House()
    made.room()
    made.register()
    made.beat_machine()
    made.wish("builder")
    return made


def seat(house: House) -> None:
    house.join("builder", "A")
    house.beat_machine(("builder", "A"))


def version(house: House) -> int:
    return house.beat_machine().wishes_version


def wish_with(house: House, reason: str | None) -> RoleView:
    body = requests.SetAgent(kind="remote", machine="m1", harness="shell", reason=reason)
    return house.write(lambda tx: roles.wish(house.world, tx, house.caller, "r", "builder", body))


def test_the_same_wish_for_an_agent_that_is_there_is_no_new_generation(house: House) -> None:
    seat(house)
    events, known = house.event_types(), version(house)

    again = house.wish("builder")

    assert (1, known, events) == (again.generation, version(house), house.event_types())


def test_nor_is_another_reason_for_it_but_people_see_that(house: House) -> None:
    seat(house)
    known = version(house)

    again = wish_with(house, "it is needed")

    assert (1, "it is needed", known) == (again.generation, again.desired_reason, version(house))
    assert "it is needed" == house.look().roles[0].desired_reason
    assert ("role.wished", "it is needed") == (house.events()[-1].type, house.events()[-1].cause)


def test_the_same_wish_for_an_agent_that_is_not_there_starts_it_anew(house: House) -> None:
    """A user who repeats it does not want to wait for the daemon's next try."""
    known = version(house)

    again = house.wish("builder")

    assert (2, known + 1) == (again.generation, version(house))


def test_stopping_what_is_stopped_is_no_change(house: House) -> None:
    stopped = house.wish("builder", desired="stopped")

    assert stopped == house.wish("builder", desired="stopped")
    assert 3 == house.wish("builder").generation


def test_restarting_is_always_a_new_generation(house: House) -> None:
    seat(house)
    body = requests.Explain()

    again = house.write(lambda tx: roles.restart(house.world, tx, house.caller, "r", "builder", body))

    assert 2 == again.generation


def test_what_was_wished_of_a_machine_that_was_away_is_not_made_up_for(house: House) -> None:
    """It is a state and no command: a machine that returns reads the current spec, none of those in between."""
    house.pass_time(house.limits.daemon_heartbeat_ttl_s + 2)
    for desired in ("stopped", "running", "stopped"):
        house.wish("builder", desired=desired)

    house.beat_machine()

    assert [(wish.desired, wish.generation) for wish in house.wishes().wishes] == [("stopped", 4)]


def test_how_long_a_task_may_take_is_part_of_the_wish(house: House) -> None:
    body = requests.SetAgent(kind="remote", machine="m1", harness="shell", task_timeout_s=90.5)

    wished = house.write(lambda tx: roles.wish(house.world, tx, house.caller, "r", "builder", body))

    assert (2, 90.5) == (wished.generation, wished.task_timeout_s)
    assert [90.5] == [wish.task_timeout_s for wish in house.wishes().wishes]
    assert wished.wished_at == house.look().roles[0].wished_at == house.world.now().instant
