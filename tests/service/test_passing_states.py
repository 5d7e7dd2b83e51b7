"""A passing status says when it should be over; after that it says that it is overdue and where to look."""

import pytest

from greenroom.clock import instant_of
from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from tests.service.house import House

DAEMON = Caller(scope=MACHINE, machine="m1")


@pytest.fixture
def house() -> House:
    made = House()
    made.room()
    made.register()
    return made


def seated(house: House) -> House:
    """Let the builder's daemon join."""
    house.beat_machine()
    house.wish("builder")
    house.caller = DAEMON
    house.join("builder", "a")
    house.caller = THE_OPERATOR
    house.beat_machine(("builder", "a"))
    return house


def shown(house: House) -> tuple[str, str | None, str | None]:
    view = house.look().roles[0]
    return view.status, view.status_reason, view.status_until


def ahead(house: House, seconds: float) -> str:
    return instant_of(house.clock.wall() + seconds)


def live(house: House, seconds: float, *agents: tuple[str, str]) -> None:
    """Let time pass while the machine beats."""
    while seconds > 0:
        house.pass_time(min(seconds, 25))
        seconds -= 25
        house.beat_machine(*agents)


def test_starting_is_counted_from_the_wish_where_the_machine_is_there(house: House) -> None:
    house.beat_machine()
    live(house, 100)
    house.wish("builder")
    assert shown(house) == ("starting", "machine m1 is about to run it", ahead(house, house.limits.start_timeout_s))


def test_and_from_when_the_machine_came_where_it_was_not(house: House) -> None:
    house.wish("builder")
    house.wish("reviewer")
    house.pass_time(100)
    assert shown(house)[0] == "offline"
    house.beat_machine()
    until = ahead(house, house.limits.start_timeout_s)
    assert shown(house)[::2] == ("starting", until)
    house.join("reviewer", "a")
    live(house, 50, ("reviewer", "a"))  # The first beat goes through the store; it is no reconnection.
    assert shown(house)[::2] == ("starting", until)


def test_and_from_when_somebody_left_the_seat(house: House) -> None:
    seated(house)
    live(house, 100, ("builder", "a"))
    house.leave("builder", "a")
    assert shown(house)[::2] == ("starting", ahead(house, house.limits.start_timeout_s))


def test_and_anew_after_an_absence_of_ours(house: House) -> None:
    house.beat_machine()
    house.wish("builder")
    house.clock.move(1000)
    house.open()
    assert shown(house)[::2] == ("starting", ahead(house, house.limits.start_timeout_s))


def test_one_that_did_not_start_says_that_it_should_have(house: House) -> None:
    house.beat_machine()
    house.wish("builder")
    until = ahead(house, house.limits.start_timeout_s)
    live(house, house.limits.start_timeout_s + 2)
    assert shown(house) == (
        "starting",
        "machine m1 is about to run it; machine m1 should run it by now: see `greenroom why r/builder`",
        until,
    )


def test_nothing_is_known_of_one_whose_machine_has_missed_a_beat(house: House) -> None:
    house.beat_machine()
    house.wish("builder")
    house.pass_time(31)
    assert shown(house)[0] == "unknown"
    house.beat_machine()
    assert shown(house)[0] == "starting"


def test_stopping_is_counted_from_the_wish_and_says_when_it_is_overdue(house: House) -> None:
    seated(house)
    live(house, 100, ("builder", "a"))
    house.wish("builder", desired="stopped")
    until = ahead(house, house.limits.daemon_heartbeat_interval_s + house.limits.stop_grace_s)
    assert shown(house) == ("stopping", "stopped by operator", until)
    live(house, 50, ("builder", "a"))
    assert shown(house) == (
        "stopping",
        "stopped by operator; it should have stopped by now: see `greenroom why r/builder`",
        until,
    )


def test_stopping_in_a_closed_room_is_counted_from_when_it_was_closed(house: House) -> None:
    seated(house)
    live(house, 100, ("builder", "a"))
    house.close_room()
    until = ahead(house, house.limits.daemon_heartbeat_interval_s + house.limits.stop_grace_s)
    assert shown(house) == ("stopping", "the room is closed", until)


def test_a_persons_agent_takes_its_time_to_stop(house: House) -> None:
    house.join("builder", "person")
    house.wish("builder", machine=None, desired="stopped")
    assert shown(house) == ("stopping", "stopped by operator", None)
