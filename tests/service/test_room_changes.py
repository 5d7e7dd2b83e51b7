"""Rooms that are renamed, reshaped and deleted while agents are present and tokens exist."""

from typing import Any

import pytest

from greenroom.domain.caller import AGENT, ATTEMPT, MACHINE, THE_OPERATOR, Caller
from greenroom.domain.errors import Conflict, NotFound, Refused, Superseded, Unusable
from greenroom.domain.reliability import Reliability
from tests.service.house import House


@pytest.fixture
def service() -> House:
    new_service = House()
    new_service.room()
    return new_service


def test_renamed_room_lookup(service: House) -> None:
    service.join("builder", "a")
    room = service.look()
    assert service.change(name="shop").name == "shop"
    assert service.beat("builder", "a", room="shop").status == "ok"
    assert service.beat("builder", "a", room=room.id).status == "ok"
    for call in (service.beat, service.join):
        with pytest.raises(NotFound):
            call("builder", "a", room="r")
    service.caller = Caller(scope=AGENT, room=room.id, role="builder")
    assert service.beat("builder", "a", room="shop").status == "ok"
    with pytest.raises(Refused):
        service.beat("builder", "a", room="r")


def test_old_name_can_be_reused(service: House) -> None:
    service.change(name="shop")
    other = service.room("r")
    assert service.look("r").id == other.id
    service.change("shop", name="shop2")
    assert service.look("r").id == other.id
    assert service.beat("builder", "x", room="r").status == "rejoin_required"
    with pytest.raises(Conflict):
        service.change("shop2", name="r")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reason": "because"},
        {"roles": ["builder", "builder"]},
        {"roles": ["reviewer"]},
        {"roles": ["builder", "user"]},
        {"entry_role": "unknown"},
        {"name": "room_aaaaaaaaaaaaaaaa"},
    ],
)
def test_invalid_change_is_rejected(service: House, fields: dict[str, Any]) -> None:
    before, events = service.look(), len(service.events())
    with pytest.raises(Unusable):
        service.change(**fields)
    assert (service.look(), len(service.events())) == (before, events)


def test_same_values_are_no_change(service: House) -> None:
    before = len(service.events())
    service.change(name="r", roles=["builder", "reviewer"], entry_role="builder", max_requests=1)
    assert len(service.events()) == before


def test_roles_added_reordered_removed(service: House) -> None:
    shown = service.change(roles=["tester", "builder"], entry_role="tester", reason="less review")
    assert [role.name for role in shown.roles] == ["tester", "builder"]
    assert service.events()[-1].type == "room.changed"
    assert service.events()[-1].cause == "less review"
    assert service.send().task.target_role == "tester"  # type: ignore[union-attr]
    with pytest.raises(Unusable):
        service.send(to="reviewer")
    for call in (service.join, service.beat, service.claim):
        with pytest.raises(NotFound):
            call("reviewer", "a")
    service.open()
    assert [role.name for role in service.look().roles] == ["tester", "builder"]
    with pytest.raises(NotFound):
        service.beat("reviewer", "a")


def test_occupied_role_cannot_be_removed(service: House) -> None:
    service.join("reviewer", "a")
    with pytest.raises(Conflict, match="is present"):
        service.change(roles=["builder"])
    service.leave("reviewer", "a")
    task = service.send(to="reviewer").task
    assert task is not None
    with pytest.raises(Conflict, match="still has work"):
        service.change(roles=["builder"])
    service.cancel(task.id)
    service.change(roles=["builder"])


def test_readded_role_keeps_numbers_not_spec(service: House) -> None:
    service.register()
    service.wish("reviewer")
    assert service.join("reviewer", "a").epoch == 1
    service.leave("reviewer", "a")
    before = service.look().roles[1].generation
    version = service.wishes().version
    service.change(roles=["builder"])
    assert service.wishes().wishes == ()
    assert service.wishes().version > version
    back = service.change(roles=["builder", "reviewer"]).roles[1]
    assert back.generation > before
    assert (back.kind, back.machine) == ("custom", None)
    assert service.join("reviewer", "a").status == "superseded"
    assert service.join("reviewer", "b").epoch == 2


def test_late_result_of_removed_role_is_kept(service: House) -> None:
    task = service.working("reviewer", "a")
    service.cancel(task.id)
    service.leave("reviewer", "a")
    service.change(roles=["builder"])
    service.caller = Caller(scope=ATTEMPT, task=task.id, attempt=1, room=task.room, role="reviewer")
    with pytest.raises(Superseded):
        service.complete(task.id, "a", 1, text="done after all")
    service.caller = THE_OPERATOR
    assert [late.text for late in service.task(task.id).late_results] == ["done after all"]


def test_max_requests_change_promotes_queued(service: House) -> None:
    sent = [service.send().task.id for _ in range(3)]  # type: ignore[union-attr]
    service.change(max_requests=2)
    assert [service.task(task).status for task in sent] == ["pending", "pending", "queued"]
    service.change(max_requests=1)
    assert [service.task(task).status for task in sent] == ["pending", "pending", "queued"]


def test_rename_updates_assignments(service: House) -> None:
    service.register()
    service.wish("builder")
    version = service.wishes().version
    service.change(name="shop")
    assert service.wishes().version > version
    assert service.wishes().wishes[0].room_name == "shop"


def test_only_a_closed_room_can_be_deleted(service: House) -> None:
    with pytest.raises(Conflict, match="is open"):
        service.delete()


def test_deleted_room_is_gone_and_name_is_free(service: House) -> None:
    task = service.working("builder", "a")
    old = service.look()
    service.complete(task.id, "a", 1)
    service.join("reviewer", "b")
    service.close_room()
    service.delete()
    for call in (service.look, lambda: service.task(task.id), lambda: service.beat("builder", "a"), service.delete):
        with pytest.raises(NotFound):
            call()
    for caller in (
        Caller(scope=AGENT, room=old.id, role="builder"),
        Caller(scope=ATTEMPT, task=task.id, attempt=1, room=old.id, role="builder"),
    ):
        service.caller = caller
        for refused in (lambda: service.join("builder", "a", room=old.id), lambda: service.complete(task.id, "a", 1)):
            with pytest.raises(Refused):
                refused()
        with pytest.raises(Refused):
            service.beat("builder", "a", room=old.id)
    service.caller = THE_OPERATOR
    assert [event.type for event in service.events()[-3:]] == ["participant.left", "participant.left", "room.deleted"]
    assert service.events()[-1].stream == "server"
    assert service.room("r").id != old.id
    assert service.world.leases.seats == {}


def test_daemon_survives_deleted_room(service: House) -> None:
    service.register()
    service.wish("builder")
    room = service.look().id
    service.caller = Caller(scope=MACHINE, machine="m1")
    service.beat_machine()
    service.join("builder", "a")
    service.beat_machine(("builder", "a"), room=room)
    service.caller = THE_OPERATOR
    service.close_room()
    service.delete()
    service.caller = Caller(scope=MACHINE, machine="m1")
    assert [agent.status for agent in service.beat_machine(("builder", "a"), room=room).agents] == ["rejoin_required"]
    assert service.beat_machine().status == "ok"
    assert service.wishes().wishes == ()


def test_deleted_room_is_purged_in_batches() -> None:
    service = House(Reliability(retention_rows_max=1))
    service.room()
    other = service.room("other")
    for number in range(20):
        service.send(f"{number}", room="other")
        task = service.working("builder", f"c{number}")
        service.complete(task.id, f"c{number}", 1)
    room = service.look().id
    service.close_room()
    service.delete()
    before = service.count("events", "stream", f"room:{room}")
    service.pass_time(service.limits.retention_interval_s - 1)
    assert before == service.count("events", "stream", f"room:{room}"), "a follower could not read the last events"
    while (left := service.count("events", "stream", f"room:{room}")) == before:
        service.pass_time(1)
    assert 0 < left < before
    service.open()
    service.pass_time(200)
    for table in ("tasks", "messages", "sittings", "roles", "attentions"):
        assert service.count(table, "room", room) == 0, table
        assert table in ("sittings", "attentions") or service.count(table, "room", other.id) > 0, table
    for table in ("events", "streams"):
        assert service.count(table, "stream", f"room:{room}") == 0, table
    assert service.count("deletions", "stream", f"room:{room}") == 0
    seqs = [event.seq for event in service.events() if event.stream == f"room:{other.id}"]
    assert seqs == list(range(1, len(seqs) + 1))


def test_assignments_follow_role_order(service: House) -> None:
    service.register()
    service.wish("builder")
    service.change(roles=["reviewer", "builder"])
    assert service.wishes().wishes[0].roles == ("reviewer", "builder")
