"""`greenroom room ...`. Must not know what a room's rules are."""

from argparse import Namespace
from typing import TextIO

from greenroom.cli.board import roles_table, tasks_table
from greenroom.cli.connection import all_of, session_of
from greenroom.cli.output import print_json
from greenroom.cli.table import Table, print_table
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import RoomView
from greenroom.wire.requests import CreateRoom


def create(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    body = CreateRoom(
        name=arguments.name,
        roles=[role.strip() for role in arguments.roles.split(",") if role.strip()],
        entry_role=arguments.entry_role,
        max_requests=arguments.max_requests,
    )
    room = session_of(settings).create_room(body)
    print_room(room, arguments, out)
    print(f"next: greenroom send {room.name} TEXT, or let an agent come:", file=err)
    print(f"      greenroom wait-for-task {room.name} --role {room.entry_role}", file=err)
    return 0


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = session_of(settings)
    rooms = all_of(lambda after: session.rooms(after, settings.limits.page_max))
    if arguments.json:
        print_json(out, rooms)
    elif rooms:
        rows = [(room.name, room.status, ", ".join(room.roles), room.entry_role, room.id) for room in rooms]
        print_table(out, Table("", ("ROOM", "STATUS", "ROLES", "ENTRY", "ID"), rows))
    else:
        print("There is no room yet. Open one: greenroom room create NAME --roles A,B", file=err)
    return 0


def show(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    print_room(session_of(settings).snapshot(arguments.room), arguments, out)
    return 0


def close(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    print_room(session_of(settings).close_room(arguments.room, arguments.reason), arguments, out)
    return 0


def print_room(room: RoomView, arguments: Namespace, out: TextIO) -> None:
    if arguments.json:
        print_json(out, room)
        return
    print_table(out, roles_table(room))
    if room.tasks:
        print_table(out, tasks_table("Open tasks", room.tasks))
