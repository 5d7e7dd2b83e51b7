"""Rooms that are renamed, reshaped and deleted while agents are present and tokens exist."""

from typing import Any

import pytest

from greenroom.domain.errors import Conflict, NotFound, Refused, Superseded, Unusable
from greenroom.domain.limits import Limits
from greenroom.domain.principal import AGENT, ATTEMPT, MACHINE, OPERATOR_PRINCIPAL, Principal
from tests.service.in_process_service import InProcessService


@pytest.fixture
def service() -> InProcessService:
    new_service = InProcessService()
    new_service.create_room()
    return new_service


def test_renamed_room_lookup(service: InProcessService) -> None:
    service.join("builder", "a")
    room = service.show_room()
    assert service.change_room(name="shop").name == "shop"
    assert service.beat("builder", "a", room="shop").status == "ok"
    assert service.beat("builder", "a", room=room.id).status == "ok"
    for call in (service.beat, service.join):
        with pytest.raises(NotFound):
            call("builder", "a", room="r")
    service.principal = Principal(scope=AGENT, room=room.id, role="builder")
    assert service.beat("builder", "a", room="shop").status == "ok"
    with pytest.raises(Refused):
        service.beat("builder", "a", room="r")


def test_old_name_can_be_reused(service: InProcessService) -> None:
    service.change_room(name="shop")
    other = service.create_room("r")
    assert service.show_room("r").id == other.id
    service.change_room("shop", name="shop2")
    assert service.show_room("r").id == other.id
    assert service.beat("builder", "x", room="r").status == "rejoin_required"
    with pytest.raises(Conflict):
        service.change_room("shop2", name="r")


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
def test_invalid_change_is_rejected(service: InProcessService, fields: dict[str, Any]) -> None:
    before, events = service.show_room(), len(service.events())
    with pytest.raises(Unusable):
        service.change_room(**fields)
    assert (service.show_room(), len(service.events())) == (before, events)


def test_same_values_are_no_change(service: InProcessService) -> None:
    before = len(service.events())
    service.change_room(name="r", roles=["builder", "reviewer"], entry_role="builder", max_requests=1)
    assert len(service.events()) == before


def test_roles_added_reordered_removed(service: InProcessService) -> None:
    shown = service.change_room(roles=["tester", "builder"], entry_role="tester", reason="less review")
    assert [role.name for role in shown.roles] == ["tester", "builder"]
    assert service.events()[-1].type == "room.changed"
    assert service.events()[-1].cause == "less review"
    assert service.send_message().task.target_role == "tester"  # type: ignore[union-attr]
    with pytest.raises(Unusable):
        service.send_message(to="reviewer")
    for call in (service.join, service.beat, service.claim):
        with pytest.raises(NotFound):
            call("reviewer", "a")
    service.restart_server()
    assert [role.name for role in service.show_room().roles] == ["tester", "builder"]
    with pytest.raises(NotFound):
        service.beat("reviewer", "a")


def test_occupied_role_cannot_be_removed(service: InProcessService) -> None:
    service.join("reviewer", "a")
    with pytest.raises(Conflict, match="is present"):
        service.change_room(roles=["builder"])
    service.leave("reviewer", "a")
    task = service.send_message(to="reviewer").task
    assert task is not None
    with pytest.raises(Conflict, match="still has work"):
        service.change_room(roles=["builder"])
    service.cancel(task.id)
    service.change_room(roles=["builder"])


def test_readded_role_keeps_numbers_not_spec(service: InProcessService) -> None:
    service.register_machine()
    service.set_agent_spec("reviewer")
    assert service.join("reviewer", "a").epoch == 1
    service.leave("reviewer", "a")
    before = service.show_room().roles[1].generation
    version = service.list_assignments().version
    service.change_room(roles=["builder"])
    assert service.list_assignments().assignments == ()
    assert service.list_assignments().version > version
    back = service.change_room(roles=["builder", "reviewer"]).roles[1]
    assert back.generation > before
    assert (back.kind, back.machine) == ("custom", None)
    assert service.join("reviewer", "a").status == "superseded"
    assert service.join("reviewer", "b").epoch == 2


def test_late_result_of_removed_role_is_kept(service: InProcessService) -> None:
    task = service.join_and_claim("reviewer", "a")
    service.cancel(task.id)
    service.leave("reviewer", "a")
    service.change_room(roles=["builder"])
    service.principal = Principal(scope=ATTEMPT, task=task.id, attempt=1, room=task.room, role="reviewer")
    with pytest.raises(Superseded):
        service.complete(task.id, "a", 1, text="done after all")
    service.principal = OPERATOR_PRINCIPAL
    assert [late.text for late in service.show_task(task.id).late_results] == ["done after all"]


def test_max_requests_change_promotes_queued(service: InProcessService) -> None:
    sent = [service.send_message().task.id for _ in range(3)]  # type: ignore[union-attr]
    service.change_room(max_requests=2)
    assert [service.show_task(task).status for task in sent] == ["pending", "pending", "queued"]
    service.change_room(max_requests=1)
    assert [service.show_task(task).status for task in sent] == ["pending", "pending", "queued"]


def test_rename_updates_assignments(service: InProcessService) -> None:
    service.register_machine()
    service.set_agent_spec("builder")
    version = service.list_assignments().version
    service.change_room(name="shop")
    assert service.list_assignments().version > version
    assert service.list_assignments().assignments[0].room_name == "shop"


def test_only_a_closed_room_can_be_deleted(service: InProcessService) -> None:
    with pytest.raises(Conflict, match="is open"):
        service.delete_room()


def test_deleted_room_is_gone_and_name_is_free(service: InProcessService) -> None:
    task = service.join_and_claim("builder", "a")
    old = service.show_room()
    service.complete(task.id, "a", 1)
    service.join("reviewer", "b")
    service.close_room()
    service.delete_room()
    for call in (
        service.show_room,
        lambda: service.show_task(task.id),
        lambda: service.beat("builder", "a"),
        service.delete_room,
    ):
        with pytest.raises(NotFound):
            call()
    for caller in (
        Principal(scope=AGENT, room=old.id, role="builder"),
        Principal(scope=ATTEMPT, task=task.id, attempt=1, room=old.id, role="builder"),
    ):
        service.principal = caller
        for refused in (lambda: service.join("builder", "a", room=old.id), lambda: service.complete(task.id, "a", 1)):
            with pytest.raises(Refused):
                refused()
        with pytest.raises(Refused):
            service.beat("builder", "a", room=old.id)
    service.principal = OPERATOR_PRINCIPAL
    assert [event.type for event in service.events()[-3:]] == ["participant.left", "participant.left", "room.deleted"]
    assert service.events()[-1].stream == "server"
    assert service.create_room("r").id != old.id
    assert service.context.leases.participants == {}


def test_daemon_survives_deleted_room(service: InProcessService) -> None:
    service.register_machine()
    service.set_agent_spec("builder")
    room = service.show_room().id
    service.principal = Principal(scope=MACHINE, machine="m1")
    service.beat_machine()
    service.join("builder", "a")
    service.beat_machine(("builder", "a"), room=room)
    service.principal = OPERATOR_PRINCIPAL
    service.close_room()
    service.delete_room()
    service.principal = Principal(scope=MACHINE, machine="m1")
    assert [agent.status for agent in service.beat_machine(("builder", "a"), room=room).agents] == ["rejoin_required"]
    assert service.beat_machine().status == "ok"
    assert service.list_assignments().assignments == ()


def test_deleted_room_is_purged_in_batches() -> None:
    service = InProcessService(Limits(retention_rows_max=1))
    service.create_room()
    other = service.create_room("other")
    for number in range(20):
        service.send_message(f"{number}", room="other")
        task = service.join_and_claim("builder", f"c{number}")
        service.complete(task.id, f"c{number}", 1)
    room = service.show_room().id
    service.close_room()
    service.delete_room()
    before = service.count_rows("events", "stream", f"room:{room}")
    service.pass_time(service.limits.retention_interval_s - 1)
    assert before == service.count_rows("events", "stream", f"room:{room}"), "a follower could not read the last events"
    while (left := service.count_rows("events", "stream", f"room:{room}")) == before:
        service.pass_time(1)
    assert 0 < left < before
    service.restart_server()
    service.pass_time(200)
    for table in ("tasks", "messages", "participants", "roles", "alerts"):
        assert service.count_rows(table, "room", room) == 0, table
        assert table in ("participants", "alerts") or service.count_rows(table, "room", other.id) > 0, table
    for table in ("events", "streams"):
        assert service.count_rows(table, "stream", f"room:{room}") == 0, table
    assert service.count_rows("deletions", "stream", f"room:{room}") == 0
    seqs = [event.seq for event in service.events() if event.stream == f"room:{other.id}"]
    assert seqs == list(range(1, len(seqs) + 1))


def test_assignments_follow_role_order(service: InProcessService) -> None:
    service.register_machine()
    service.set_agent_spec("builder")
    service.change_room(roles=["reviewer", "builder"])
    assert service.list_assignments().assignments[0].roles == ("reviewer", "builder")
