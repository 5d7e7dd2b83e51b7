"""What users are shown of rooms, roles and machines is correct."""

import pytest

from greenroom.domain.errors import Unusable
from greenroom.domain.event import room_stream
from greenroom.domain.limits import Limits
from greenroom.service import machines, messages, rooms, tasks
from greenroom.wire import requests
from greenroom.wire.cursor import StreamCursors
from tests.service.in_process_service import InProcessService


def test_same_connection_id_in_two_roles() -> None:
    """A client chooses its connection id, and two roles may have the same."""
    service = InProcessService()
    service.create_room()
    service.join("builder", "A")
    service.join("reviewer", "A")
    service.send_message()
    service.claim("builder", "A")

    room = service.show_room()

    assert ["working", "waiting"] == [role.status for role in room.roles]
    assert ["working", "waiting"] == [participant.status for participant in room.participants]


def test_change_returns_new_cursor() -> None:
    service = InProcessService()

    created = service.create_room()
    cursors = StreamCursors(room_stream(created.id))
    assert 1 == cursors.decode(created.cursor)
    assert service.show_room().cursor == created.cursor

    closed = service.run_mutation(
        lambda tx: rooms.close(service.context, tx, service.principal, "r", requests.GiveReason())
    )
    assert service.show_room().cursor == closed.cursor
    assert 2 == cursors.decode(closed.cursor)


def test_role_statuses_in_closed_room() -> None:
    service = InProcessService()
    service.create_room()
    service.register_machine()
    service.beat_machine()
    service.set_agent_spec("builder")
    service.join("reviewer", "A")
    assert ["starting", "waiting"] == [role.status for role in service.show_room().roles]

    service.run_mutation(lambda tx: rooms.close(service.context, tx, service.principal, "r", requests.GiveReason()))

    assert [("stopped", "the room is closed"), ("stopping", "the room is closed")] == [
        (role.status, role.status_reason) for role in service.show_room().roles
    ]


def test_last_seen_is_last_agent_beat() -> None:
    service = InProcessService()
    service.create_room()
    service.join("builder", "A")
    service.pass_time(10)
    service.beat("builder", "A")
    last_beat = service.show_room().roles[0].last_seen_at

    service.pass_time(service.limits.heartbeat_ttl_s + 2)

    assert "participant.expired" == service.event_types()[-1]
    assert last_beat == service.show_room().roles[0].last_seen_at


def test_last_seen_is_last_machine_beat() -> None:
    service = InProcessService()
    service.create_room()
    service.register_machine()
    service.set_agent_spec("builder")
    service.beat_machine()
    service.join("builder", "A")
    service.beat_machine(("builder", "A"))
    service.pass_time(10)
    service.beat_machine(("builder", "A"))
    last_beat = service.show_room().roles[0].last_seen_at

    service.pass_time(service.limits.daemon_heartbeat_ttl_s + 2)

    assert not service.show_machine().daemon_connected
    assert (last_beat, last_beat) == (service.show_room().roles[0].last_seen_at, service.show_machine().last_seen_at)


def test_unknown_page_cursor_is_rejected() -> None:
    """The first page again would make a client page for ever."""
    service = InProcessService()
    service.create_room()
    context, caller = service.context, service.principal
    for read in (
        lambda reader: rooms.list_all(context, reader, caller, "gone", 10),
        lambda reader: machines.list_all(context, reader, caller, "gone", 10),
        lambda reader: messages.list_all(context, reader, caller, "r", "gone", 10),
        lambda reader: tasks.list_all(context, reader, caller, "r", None, "gone", 10),
    ):
        with pytest.raises(Unusable, match="gone"):
            service.store.read(read)


def test_working_status_beyond_page_limit() -> None:
    service = InProcessService(Limits(page_default=2, page_max=2))
    service.create_room()
    for _ in range(3):
        service.add_to_backlog()
    service.join_and_claim("builder", "A")
    assert ["working", "vacant"] == [role.status for role in service.show_room().roles]
