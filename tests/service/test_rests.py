"""Restart holds that a daemon reports: they are shown, and raise an alert while they need a user."""

from collections.abc import Callable
from typing import Any

import pytest

from greenroom.clock import instant_of
from greenroom.domain.caller import MACHINE, Caller
from greenroom.service import roles
from greenroom.wire.replies import RoleView
from greenroom.wire.requests import Explain, Fact
from tests.service.house import House

DAEMON = Caller(scope=MACHINE, machine="m1")


@pytest.fixture
def house() -> House:
    """A builder a on machine m1, which is connected."""
    made = House()
    made.room(max_requests=5)
    made.register()
    made.wish("builder")
    made.beat_machine()
    sit(made, "a")
    return made


def sit(house: House, connection: str) -> None:
    """Let the daemon of m1 join as builder, if the role is vacant."""
    as_daemon(house, lambda: house.join("builder", connection, if_vacant=True))


def as_daemon(house: House, act: Callable[[], Any]) -> Any:
    before, house.caller = house.caller, DAEMON
    try:
        return act()
    finally:
        house.caller = before


def work(house: House, connection: str) -> tuple[str, int]:
    """Let the daemon's agent claim a new task; return its id and attempt."""
    claimed = house.working_as(DAEMON, "builder", connection)
    return claimed.id, claimed.attempt


def ahead(house: House, seconds: float) -> str:
    return instant_of(house.clock.wall() + seconds)


def fact(kind: str, connection: str = "a", **more: Any) -> Fact:
    told = {"id": f"{kind}.{connection}.{more.get('task')}", "room": "r", "role": "builder", **more}
    return Fact(kind=kind, connection_id=connection, **told)  # type: ignore[arg-type]


def report(house: House, *facts: Fact) -> int:
    accepted: int = as_daemon(house, lambda: house.report(*facts)).accepted
    return accepted


def builder(house: House) -> RoleView:
    return house.look().roles[0]


def shown(house: House) -> tuple[str, str | None, str | None]:
    view = builder(house)
    return view.status, view.status_reason, view.status_until


def raised(house: House) -> list[str]:
    """The kinds of alerts that are raised for the role, without those about tasks."""
    told: dict[str, bool] = {}
    for event in house.events():
        if event.type.startswith("attention.") and event.data["key"].startswith(("parked:", "paused:")):
            told[event.data["key"].partition(":")[0]] = event.type == "attention.raised"
    return [kind for kind, is_raised in told.items() if is_raised]


def park_for_good(house: House) -> None:
    report(house, fact("exited", code=3), fact("parked", detail="it failed again in its probe run"))


# Backing off.


def test_a_rest_is_shown_until_it_is_over(house: House) -> None:
    until = ahead(house, 40)
    report(house, fact("exited", code=3, until=until))
    assert shown(house) == ("backing_off", "exited with code 3", until)
    house.pass_time(10)
    house.beat_machine()
    assert shown(house)[0] == "backing_off"
    house.clock.move(31)
    house.beat_machine()
    assert shown(house) == ("starting", "machine m1 is about to run it", ahead(house, 59))
    sit(house, "b")
    assert shown(house) == ("waiting", None, None)


def test_each_fact_is_an_event_and_is_taken_once_in_the_order_given(house: House) -> None:
    facts = (fact("exited", code=3, until=ahead(house, 1)), fact("parked", until=ahead(house, 300), detail="too often"))
    assert (report(house, *facts), report(house, *facts)) == (2, 0)
    told = [event for event in house.events() if event.type.startswith("agent.")]
    assert [(event.type, event.cause) for event in told] == [("agent.exited", "exited"), ("agent.parked", "too often")]
    assert shown(house) == ("parked", "too often", facts[1].until)


# Crash-looping.


def test_one_that_is_parked_is_run_on_trial_and_known_as_parked_until_it_did_its_task(house: House) -> None:
    report(house, fact("exited", code=3), fact("parked", until=ahead(house, 60), detail="3 ends in 5 min"))
    assert raised(house) == []
    house.clock.move(61)
    house.beat_machine()
    assert shown(house)[:2] == ("starting", "machine m1 is about to run it on trial")
    sit(house, "b")
    assert shown(house)[:2] == ("waiting", "on trial after it was parked: 3 ends in 5 min")
    task, attempt = work(house, "b")
    assert shown(house)[:2] == ("working", "on trial after it was parked: 3 ends in 5 min")
    house.complete(task, "b", attempt)
    report(house, fact("unparked", "b"))
    assert shown(house) == ("waiting", None, None)
    assert "agent.unparked" in house.event_types()


def test_a_death_on_trial_does_not_count_against_its_task_and_people_are_told(house: House) -> None:
    report(house, fact("exited", code=3), fact("parked", until=ahead(house, 60)))
    house.clock.move(61)
    house.beat_machine()
    task, attempt = work(house, "b")
    died = fact("exited", "b", task=task, attempt=attempt, code=4, trial=True)
    report(house, died)
    assert (shown(house)[0], raised(house)) == ("starting", [])
    assert ("pending", "exited", 0) == (
        house.task(task).status,
        house.task(task).released_cause,
        house.task(task).deaths,
    )
    report(house, fact("parked", "b", detail="it failed again in its probe run"))
    assert shown(house) == (
        "parked",
        "it failed again in its probe run; see to that, then run it again with `greenroom agent restart r/builder`",
        None,
    )
    assert raised(house) == ["parked"]
    told = next(event for event in house.events() if event.type == "attention.raised" and "parked" in event.cause)
    assert told.data["text"].startswith("r/builder is parked: it failed again in its probe run; ")


def test_nor_does_it_when_the_sitting_ends_with_what_it_holds(house: House) -> None:
    task, _ = work(house, "a")
    report(house, fact("exited", code=4, trial=True))
    assert (house.task(task).status, house.task(task).deaths) == ("pending", 0)


# Paused.


def test_one_that_is_paused_until_a_time_gets_up_and_needs_nobody(house: House) -> None:
    task, attempt = work(house, "a")
    until = ahead(house, 600)
    ended = fact("exited", task=task, attempt=attempt, code=1, intended=True)
    report(house, ended, fact("paused", until=until, detail="the provider's limit is reached"))
    assert shown(house) == ("paused", "the provider's limit is reached", until)
    assert (house.task(task).status, house.task(task).deaths) == ("pending", 0)
    assert (list(house.look().participants), raised(house)) == ([], [])
    assert as_daemon(house, lambda: house.leave("builder", "a", cause="stopped")) == "ok"


def test_one_that_is_paused_for_a_person_says_what_to_do(house: House) -> None:
    report(house, fact("paused", detail="nobody is logged in"))
    advice = "nobody is logged in; see to that, then run it again with `greenroom agent restart r/builder`"
    assert shown(house) == ("paused", advice, None)
    assert raised(house) == ["paused"]
    assert f"r/builder is paused: {advice}." in [event.data.get("text") for event in house.events()]


def test_a_machine_that_is_gone_does_not_hide_what_needs_a_person(house: House) -> None:
    park_for_good(house)
    house.beat_machine(leaving=True)
    assert shown(house)[0] == "parked"


# What ends a restart hold.


def restart(house: House) -> None:
    house.write(lambda tx: roles.restart(house.world, tx, house.caller, "r", "builder", Explain()))


ENDS: tuple[Callable[[House], object], ...] = (
    restart,
    lambda house: house.wish("builder", desired="stopped"),
    lambda house: house.wish("builder", machine=None),
    lambda house: house.join("builder", "person"),
    lambda house: house.change(roles=["reviewer"], entry_role="reviewer"),
    lambda house: house.close_room(),
    lambda house: report(house, fact("unparked")),
)


@pytest.mark.parametrize("end", ENDS, ids=["restart", "stop", "custom", "person", "removed", "closed", "unparked"])
def test_it_needs_a_person_until(house: House, end: Callable[[House], object]) -> None:
    park_for_good(house)
    assert raised(house) == ["parked"]
    end(house)
    assert raised(house) == []


def test_a_new_wish_is_a_new_beginning(house: House) -> None:
    park_for_good(house)
    restart(house)
    assert shown(house)[0] == "starting"
    sit(house, "b")
    assert shown(house) == ("waiting", None, None)


def test_a_person_who_sits_there_for_a_while_ends_no_rest(house: House) -> None:
    park_for_good(house)
    house.join("builder", "person")
    assert shown(house) == ("waiting", None, None)
    house.leave("builder", "person")
    assert shown(house)[0] == "parked"
    assert raised(house) == ["parked"]


def test_a_person_who_falls_silent_and_comes_back_likewise(house: House) -> None:
    park_for_good(house)
    house.join("builder", "person")
    for _ in range(5):
        house.pass_time(25)
        house.beat_machine()
    assert raised(house) == ["parked"]
    house.join("builder", "person")
    assert raised(house) == []


def test_a_daemon_that_sits_down_where_a_person_was_waited_for_has_begun_anew_once_it_did_a_task(house: House) -> None:
    park_for_good(house)
    sit(house, "b")
    assert (shown(house)[0], raised(house)) == ("waiting", [])
    task, attempt = work(house, "b")
    house.complete(task, "b", attempt)
    assert (shown(house), raised(house)) == (("waiting", None, None), [])


# Outdated reports.


def test_a_fact_of_an_older_wish_changes_only_the_log(house: House) -> None:
    """The daemon was offline when a user restarted the role: its old report must not stop the restarts again."""
    generation = builder(house).generation
    restart(house)
    told = (fact("exited", code=3, generation=generation), fact("parked", generation=generation))
    assert report(house, *told) == 2
    assert "agent.parked" in house.event_types()
    assert (shown(house)[0], raised(house)) == ("starting", [])


def test_so_does_one_of_a_sitting_that_is_not_the_newest(house: House) -> None:
    as_daemon(house, lambda: house.join("builder", "b"))
    assert report(house, fact("exited", code=3, until=ahead(house, 60)), fact("paused")) == 2
    assert (shown(house)[0], raised(house)) == ("waiting", [])
    assert ["b"] == [each.connection_id for each in house.look().participants]
    house.leave("builder", "b")
    assert (shown(house)[0], raised(house)) == ("starting", [])


def test_and_one_of_a_role_that_was_moved_away(house: House) -> None:
    house.register("m2")
    house.wish("builder", machine="m2")
    house.beat_machine(machine="m2")
    assert report(house, fact("exited", code=3, until=ahead(house, 60)), fact("parked")) == 2
    assert (shown(house)[0], raised(house)) == ("starting", [])


def test_an_unparked_word_ends_nothing_but_a_parking(house: House) -> None:
    report(house, fact("paused", detail="nobody is logged in"), fact("unparked"))
    assert shown(house)[0] == "paused"
