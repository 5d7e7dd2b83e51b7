"""Two daemons that beat for one machine: the newest has it, and one alert lasts while the older still beats."""

import pytest

from greenroom.domain.event import Event
from tests.service.desk import Desk
from tests.service.house import House

KEY = "cloned:m1"


@pytest.fixture
def house() -> House:
    made = House()
    made.register()
    made.beat_machine(incarnation="i1")
    return made


def told(house: House) -> list[Event]:
    """The events about the cloned machine, in order."""
    return [event for event in house.events() if event.type == "machine.cloned" or event.data.get("key") == KEY]


def types(house: House) -> list[str]:
    return [event.type for event in told(house)]


def in_turns(house: House, seconds: float) -> None:
    """Let both daemons beat in turns."""
    for _ in range(int(seconds / 20)):
        house.pass_time(20)
        assert "superseded" == house.beat_machine(incarnation="i1").status
        assert "ok" == house.beat_machine(incarnation="i2").status


def test_it_is_told_once_however_long_they_beat_in_turns(house: House) -> None:
    house.beat_machine(incarnation="i2")
    before = len(house.events())
    in_turns(house, 2 * house.limits.clone_told_s)
    cloned, raised = told(house)
    assert (cloned.type, raised.type, len(house.events())) == ("machine.cloned", "attention.raised", before + 2)
    assert (cloned.stream, cloned.data["older"], cloned.data["incarnation"]) == ("machine:m1", "i1", "i2")
    assert "remove the file `machine.json` from the data directory of the copy" in raised.data["text"]


def test_it_is_taken_back_when_the_older_one_was_silent_for_long_enough(house: House) -> None:
    house.beat_machine(incarnation="i2")
    in_turns(house, 400)
    house.pass_time(house.limits.clone_told_s - 10)
    assert types(house) == ["machine.cloned", "attention.raised"]
    house.pass_time(12)
    assert types(house) == ["machine.cloned", "attention.raised", "attention.resolved"]
    house.beat_machine(incarnation="i1")
    assert types(house)[3:] == ["machine.cloned", "attention.raised"]


def test_a_restart_of_the_server_tells_it_neither_again_nor_for_ever(house: House) -> None:
    house.beat_machine(incarnation="i2")
    in_turns(house, 40)
    house.clock.move(3 * house.limits.clone_told_s)
    house.open()
    house.pass_time(house.limits.clone_told_s - 60)
    in_turns(house, 40)
    house.open()
    assert types(house) == ["machine.cloned", "attention.raised"]
    house.pass_time(house.limits.clone_told_s + 2)
    assert types(house)[2:] == ["attention.resolved"]


def test_an_absence_of_ours_is_not_their_silence(house: House) -> None:
    house.beat_machine(incarnation="i2")
    in_turns(house, 20)
    house.clock.move(3 * house.limits.clone_told_s)
    house.pass_time(20)
    assert types(house) == ["machine.cloned", "attention.raised"]


def test_a_daemon_that_takes_its_leave_late_is_none(house: House) -> None:
    house.beat_machine(incarnation="i2")
    assert "superseded" == house.beat_machine(incarnation="i1", leaving=True).status
    assert told(house) == []


def test_nor_is_each_new_start_of_a_daemon(house: House) -> None:
    for number in range(2, 6):
        house.beat_machine(incarnation=f"i{number}")
    assert told(house) == []


def test_a_machine_that_is_deleted_has_no_clones(house: House) -> None:
    house.beat_machine(incarnation="i2")
    in_turns(house, 20)
    house.delete_machine()
    assert types(house) == ["machine.cloned", "attention.raised", "attention.resolved"]
    assert house.world.healer.clones == {}


def test_over_http_one_that_waits_for_its_answer_is_told() -> None:
    """A daemon that has hung up raises no alert: see `test_http_waiting`."""
    with Desk() as desk:
        desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
        answers = [
            desk.post("/api/v1/machines/m1/heartbeat", {"incarnation": incarnation}).json["status"]
            for incarnation in ("i1", "i2", "i1")
        ]
        raised = [each["key"] for each in desk.get("/api/v1/attention").json]
    assert (answers, raised) == (["ok", "ok", "superseded"], [KEY])
