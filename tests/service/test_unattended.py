"""Work that waits for a role without an agent: one alert is raised, and nothing is started."""

import pytest

from greenroom.domain.attention import Attention
from greenroom.domain.caller import THE_OPERATOR
from greenroom.service import attention
from tests.service.house import House


@pytest.fixture
def house() -> House:
    made = House()
    made.room(max_requests=3)
    return made


def raised(house: House) -> list[Attention]:
    return house.store.read(lambda reader: attention.list_all(house.world, reader, THE_OPERATOR))


def told(house: House) -> list[str]:
    return [event.type for event in house.events() if event.type.startswith("attention.")]


def key(house: House, role: str = "builder") -> str:
    return f"unattended:{house.look().id}/{role}"


def test_it_is_told_once_and_starts_nothing(house: House) -> None:
    task = house.send().task
    assert task is not None
    house.pass_time(house.limits.task_pending_timeout_s - 1)
    assert raised(house) == []
    before = house.event_types()
    house.pass_time(2)
    [it] = raised(house)
    assert (it.key, it.room) == (key(house), house.look().id)
    for named in (task.id, "builder", "room r"):
        assert named in it.text
    house.send()
    house.pass_time(3 * house.limits.task_pending_timeout_s)
    assert len(raised(house)) == 1
    after = house.event_types()[len(before) :]
    assert sorted(after) == ["attention.raised", "message.sent", "task.opened"]


def test_whoever_sits_down_resolves_it(house: House) -> None:
    house.send()
    house.pass_time(400)
    house.join("builder", "a")
    house.pass_time(1)
    assert (raised(house), told(house)) == ([], ["attention.raised", "attention.resolved"])


def test_whoever_sits_down_only_for_moments_and_takes_nothing_is_no_comfort(house: House) -> None:
    """A daemon that finds no program to run does so again and again."""
    house.send()
    for number in range(6):
        house.pass_time(house.limits.task_pending_timeout_s / 5)
        house.join("builder", f"c{number}")
        house.leave("builder", f"c{number}")
    house.pass_time(1)
    assert [key(house)] == [it.key for it in raised(house)]


def test_whoever_takes_a_task_makes_the_others_wait_anew(house: House) -> None:
    house.send()
    house.send()
    house.pass_time(house.limits.task_pending_timeout_s - 10)
    house.join("builder", "a")
    assert house.claim("builder", "a") is not None
    house.leave("builder", "a")
    house.pass_time(20)
    assert raised(house) == []
    house.pass_time(house.limits.task_pending_timeout_s)
    assert [key(house)] == [it.key for it in raised(house)]


def test_so_does_the_end_of_what_waits(house: House) -> None:
    sent = [house.send().task, house.send().task]
    house.pass_time(400)
    for task in sent:
        assert task is not None
        assert len(raised(house)) == 1
        house.cancel(task.id)
        house.pass_time(1)
    assert raised(house) == []


def test_somebody_who_was_there_in_between_begins_the_count_anew(house: House) -> None:
    house.send()
    house.send()
    house.pass_time(200)
    house.join("builder", "a")
    assert house.claim("builder", "a") is not None
    house.pass_time(20)
    house.leave("builder", "a")
    house.pass_time(200)
    assert raised(house) == []
    house.pass_time(150)
    assert [it.key for it in raised(house)] == [key(house)]


def test_silence_leaves_a_role_unattended_too(house: House) -> None:
    house.join("builder", "a")
    house.send()
    house.pass_time(house.limits.heartbeat_ttl_s + house.limits.task_pending_timeout_s + 2)
    assert [it.key for it in raised(house)] == [key(house)]


def test_a_task_that_is_held_or_queued_does_not_count(house: House) -> None:
    house.working("reviewer", "a")
    for _ in range(30):
        house.pass_time(30)
        house.beat("reviewer", "a")
    assert raised(house) == []


def test_after_a_restart_the_time_is_fresh_and_what_was_told_is_known(house: House) -> None:
    house.send(to="reviewer")
    house.pass_time(400)
    house.send()
    house.pass_time(200)
    house.open()
    house.pass_time(200)
    assert [it.key for it in raised(house)] == [key(house, "reviewer")]
    house.pass_time(110)
    assert {it.key for it in raised(house)} == {key(house, "reviewer"), key(house)}
    house.open()
    house.join("reviewer", "a")
    house.pass_time(1)
    assert [it.key for it in raised(house)] == [key(house)]
    assert told(house) == ["attention.raised", "attention.raised", "attention.resolved"]


def test_what_was_resolved_while_the_server_was_away_is_noticed(house: House) -> None:
    task = house.send().task
    assert task is not None
    house.pass_time(400)
    house.cancel(task.id)
    house.open()
    house.pass_time(1)
    assert raised(house) == []


def test_an_absence_of_the_server_does_not_count(house: House) -> None:
    house.send()
    house.clock.move(1000)
    house.pass_time(290)
    assert raised(house) == []


def test_a_deleted_room_needs_nobody(house: House) -> None:
    task = house.send().task
    assert task is not None
    house.pass_time(400)
    house.cancel(task.id)
    house.close_room()
    house.delete()
    assert (raised(house), told(house)) == ([], ["attention.raised", "attention.resolved"])
    house.pass_time(400)
    assert (raised(house), told(house)) == ([], []), "an event was recorded for a room whose events are deleted"
