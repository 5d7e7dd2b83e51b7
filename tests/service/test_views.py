"""What users are shown of rooms, roles and machines is correct."""

import pytest

from greenroom.domain.errors import Unusable
from greenroom.domain.reliability import Reliability
from greenroom.service import machines, messages, rooms, tasks
from greenroom.wire import requests
from tests.service.house import House


def test_a_role_works_only_if_its_own_agent_does() -> None:
    """A client chooses its connection id, and two roles may have the same."""
    house = House()
    house.room()
    house.join("builder", "A")
    house.join("reviewer", "A")
    house.send()
    house.claim("builder", "A")

    seen = house.look()

    assert ["working", "waiting"] == [role.status for role in seen.roles]
    assert ["working", "waiting"] == [participant.status for participant in seen.participants]


def test_the_answer_of_a_change_has_the_cursor_after_it() -> None:
    house = House()

    assert 1 == house.room().cursor
    assert house.look().cursor == 1

    closed = house.write(lambda tx: rooms.close(house.world, tx, house.caller, "r", requests.Explain()))
    assert house.look().cursor == closed.cursor == 2


def test_in_a_closed_room_nobody_is_about_to_come() -> None:
    house = House()
    house.room()
    house.register()
    house.beat_machine()
    house.wish("builder")
    house.join("reviewer", "A")
    assert ["starting", "waiting"] == [role.status for role in house.look().roles]

    house.write(lambda tx: rooms.close(house.world, tx, house.caller, "r", requests.Explain()))

    assert [("stopped", "the room is closed"), ("stopping", "the room is closed")] == [
        (role.status, role.status_reason) for role in house.look().roles
    ]


def test_who_fell_silent_was_last_seen_at_the_last_beat() -> None:
    house = House()
    house.room()
    house.join("builder", "A")
    house.pass_time(10)
    house.beat("builder", "A")
    last_beat = house.look().roles[0].last_seen_at

    house.pass_time(house.limits.heartbeat_ttl_s + 2)

    assert "participant.expired" == house.event_types()[-1]
    assert last_beat == house.look().roles[0].last_seen_at


def test_so_were_the_agents_of_a_machine() -> None:
    house = House()
    house.room()
    house.register()
    house.wish("builder")
    house.beat_machine()
    house.join("builder", "A")
    house.beat_machine(("builder", "A"))
    house.pass_time(10)
    house.beat_machine(("builder", "A"))
    last_beat = house.look().roles[0].last_seen_at

    house.pass_time(house.limits.daemon_heartbeat_ttl_s + 2)

    assert not house.machine().daemon_connected
    assert (last_beat, last_beat) == (house.look().roles[0].last_seen_at, house.machine().last_seen_at)


def test_a_page_after_nothing_known_is_refused() -> None:
    """The first page again would make a client page for ever."""
    house = House()
    house.room()
    world, caller = house.world, house.caller
    for read in (
        lambda reader: rooms.list_all(world, reader, caller, "gone", 10),
        lambda reader: machines.list_all(world, reader, caller, "gone", 10),
        lambda reader: messages.list_all(world, reader, caller, "r", "gone", 10),
        lambda reader: tasks.list_all(world, reader, caller, "r", None, "gone", 10),
    ):
        with pytest.raises(Unusable, match="gone"):
            house.store.read(read)


def test_who_works_is_shown_behind_any_number_of_older_items() -> None:
    house = House(Reliability(page_default=2, page_max=2))
    house.room()
    for _ in range(3):
        house.backlog()
    house.working("builder", "A")
    assert ["working", "vacant"] == [role.status for role in house.look().roles]
