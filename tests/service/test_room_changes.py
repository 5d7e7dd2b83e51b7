"""Rooms that are renamed, reshaped and deleted while agents are present and tokens exist."""

from typing import Any

import pytest

from greenroom.domain.caller import AGENT, ATTEMPT, MACHINE, THE_OPERATOR, Caller
from greenroom.domain.errors import Conflict, NotFound, Refused, Superseded, Unusable
from greenroom.domain.reliability import Reliability
from tests.service.house import House


@pytest.fixture
def house() -> House:
    made = House()
    made.room()
    return made


def test_a_renamed_room_is_found_by_its_new_name_and_its_id_only(house: House) -> None:
    house.join("builder", "a")
    room = house.look()
    assert house.change(name="shop").name == "shop"
    assert house.beat("builder", "a", room="shop").status == "ok"
    assert house.beat("builder", "a", room=room.id).status == "ok"
    for call in (house.beat, house.join):
        with pytest.raises(NotFound):
            call("builder", "a", room="r")
    house.caller = Caller(scope=AGENT, room=room.id, role="builder")
    assert house.beat("builder", "a", room="shop").status == "ok"
    with pytest.raises(Refused):
        house.beat("builder", "a", room="r")


def test_the_old_name_can_be_given_again(house: House) -> None:
    house.change(name="shop")
    other = house.room("r")
    assert house.look("r").id == other.id
    house.change("shop", name="shop2")
    assert house.look("r").id == other.id
    assert house.beat("builder", "x", room="r").status == "rejoin_required"
    with pytest.raises(Conflict):
        house.change("shop2", name="r")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"reason": "because"},
        {"roles": ["builder", "builder"]},
        {"roles": ["reviewer"]},
        {"roles": ["builder", "user"]},
        {"entry_role": "nobody"},
        {"name": "room_aaaaaaaaaaaaaaaa"},
    ],
)
def test_what_no_room_can_be_is_refused_and_changes_nothing(house: House, given: dict[str, Any]) -> None:
    before, events = house.look(), len(house.events())
    with pytest.raises(Unusable):
        house.change(**given)
    assert (house.look(), len(house.events())) == (before, events)


def test_what_is_so_already_is_no_change(house: House) -> None:
    before = len(house.events())
    house.change(name="r", roles=["builder", "reviewer"], entry_role="builder", max_requests=1)
    assert len(house.events()) == before


def test_roles_are_added_ordered_and_taken_out(house: House) -> None:
    shown = house.change(roles=["tester", "builder"], entry_role="tester", reason="less review")
    assert [role.name for role in shown.roles] == ["tester", "builder"]
    assert house.events()[-1].type == "room.changed"
    assert house.events()[-1].cause == "less review"
    assert house.send().task.target_role == "tester"  # type: ignore[union-attr]
    with pytest.raises(Unusable):
        house.send(to="reviewer")
    for call in (house.join, house.beat, house.claim):
        with pytest.raises(NotFound):
            call("reviewer", "a")
    house.open()
    assert [role.name for role in house.look().roles] == ["tester", "builder"]
    with pytest.raises(NotFound):
        house.beat("reviewer", "a")


def test_a_role_with_somebody_or_with_work_stays(house: House) -> None:
    house.join("reviewer", "a")
    with pytest.raises(Conflict, match="is present"):
        house.change(roles=["builder"])
    house.leave("reviewer", "a")
    task = house.send(to="reviewer").task
    assert task is not None
    with pytest.raises(Conflict, match="still has work"):
        house.change(roles=["builder"])
    house.cancel(task.id)
    house.change(roles=["builder"])


def test_the_numbers_of_a_role_go_on_when_it_comes_back_and_its_wish_does_not(house: House) -> None:
    house.register()
    house.wish("reviewer")
    assert house.join("reviewer", "a").epoch == 1
    house.leave("reviewer", "a")
    before = house.look().roles[1].generation
    version = house.wishes().version
    house.change(roles=["builder"])
    assert house.wishes().wishes == ()
    assert house.wishes().version > version
    back = house.change(roles=["builder", "reviewer"]).roles[1]
    assert back.generation > before
    assert (back.kind, back.machine) == ("custom", None)
    assert house.join("reviewer", "a").status == "superseded"
    assert house.join("reviewer", "b").epoch == 2


def test_a_late_result_for_a_role_that_was_taken_out_is_kept(house: House) -> None:
    task = house.working("reviewer", "a")
    house.cancel(task.id)
    house.leave("reviewer", "a")
    house.change(roles=["builder"])
    house.caller = Caller(scope=ATTEMPT, task=task.id, attempt=1, room=task.room, role="reviewer")
    with pytest.raises(Superseded):
        house.complete(task.id, "a", 1, text="done after all")
    house.caller = THE_OPERATOR
    assert [late.text for late in house.task(task.id).late_results] == ["done after all"]


def test_more_places_let_queued_requests_begin_and_fewer_take_none_back(house: House) -> None:
    sent = [house.send().task.id for _ in range(3)]  # type: ignore[union-attr]
    house.change(max_requests=2)
    assert [house.task(task).status for task in sent] == ["pending", "pending", "queued"]
    house.change(max_requests=1)
    assert [house.task(task).status for task in sent] == ["pending", "pending", "queued"]


def test_a_renamed_room_reaches_its_daemons(house: House) -> None:
    house.register()
    house.wish("builder")
    version = house.wishes().version
    house.change(name="shop")
    assert house.wishes().version > version
    assert house.wishes().wishes[0].room_name == "shop"


def test_only_a_closed_room_can_be_deleted(house: House) -> None:
    with pytest.raises(Conflict, match="is open"):
        house.delete()


def test_a_deleted_room_is_gone_at_once_and_its_name_is_free(house: House) -> None:
    task = house.working("builder", "a")
    old = house.look()
    house.complete(task.id, "a", 1)
    house.join("reviewer", "b")
    house.close_room()
    house.delete()
    for call in (house.look, lambda: house.task(task.id), lambda: house.beat("builder", "a"), house.delete):
        with pytest.raises(NotFound):
            call()
    for caller in (
        Caller(scope=AGENT, room=old.id, role="builder"),
        Caller(scope=ATTEMPT, task=task.id, attempt=1, room=old.id, role="builder"),
    ):
        house.caller = caller
        for refused in (lambda: house.join("builder", "a", room=old.id), lambda: house.complete(task.id, "a", 1)):
            with pytest.raises(Refused):
                refused()
        with pytest.raises(Refused):
            house.beat("builder", "a", room=old.id)
    house.caller = THE_OPERATOR
    assert [event.type for event in house.events()[-3:]] == ["participant.left", "participant.left", "room.deleted"]
    assert house.events()[-1].stream == "server"
    assert house.room("r").id != old.id
    assert house.world.leases.seats == {}


def test_a_daemon_of_a_deleted_room_is_not_told_anything_that_stops_it(house: House) -> None:
    house.register()
    house.wish("builder")
    room = house.look().id
    house.caller = Caller(scope=MACHINE, machine="m1")
    house.beat_machine()
    house.join("builder", "a")
    house.beat_machine(("builder", "a"), room=room)
    house.caller = THE_OPERATOR
    house.close_room()
    house.delete()
    house.caller = Caller(scope=MACHINE, machine="m1")
    assert [agent.status for agent in house.beat_machine(("builder", "a"), room=room).agents] == ["rejoin_required"]
    assert house.beat_machine().status == "ok"
    assert house.wishes().wishes == ()


def test_what_a_deleted_room_had_is_forgotten_bit_by_bit_also_by_the_next_server() -> None:
    house = House(Reliability(retention_rows_max=1))
    house.room()
    other = house.room("other")
    for number in range(20):
        house.send(f"{number}", room="other")
        task = house.working("builder", f"c{number}")
        house.complete(task.id, f"c{number}", 1)
    room = house.look().id
    house.close_room()
    house.delete()
    before = house.count("events", "stream", f"room:{room}")
    house.pass_time(house.limits.retention_interval_s - 1)
    assert before == house.count("events", "stream", f"room:{room}"), "a follower could not read the last events"
    while (left := house.count("events", "stream", f"room:{room}")) == before:
        house.pass_time(1)
    assert 0 < left < before
    house.open()
    house.pass_time(200)
    for table in ("tasks", "messages", "sittings", "roles", "attentions"):
        assert house.count(table, "room", room) == 0, table
        assert table in ("sittings", "attentions") or house.count(table, "room", other.id) > 0, table
    for table in ("events", "streams"):
        assert house.count(table, "stream", f"room:{room}") == 0, table
    assert house.count("deletions", "stream", f"room:{room}") == 0
    seqs = [event.seq for event in house.events() if event.stream == f"room:{other.id}"]
    assert seqs == list(range(1, len(seqs) + 1))


def test_wishes_of_a_role_that_is_there_name_the_roles_in_their_new_order(house: House) -> None:
    house.register()
    house.wish("builder")
    house.change(roles=["reviewer", "builder"])
    assert house.wishes().wishes[0].roles == ("reviewer", "builder")
