"""`greenroom room ...`: creates, lists, shows, changes, closes and deletes rooms."""

from argparse import Namespace
from typing import TextIO

from greenroom.cli.connection import open_session, read_pages
from greenroom.cli.errors import UsageError
from greenroom.cli.status_tables import roles_table, tasks_table
from greenroom.cli.table import Table, print_table
from greenroom.cli.terminal import print_json
from greenroom.clock import SystemClock
from greenroom.exit_codes import ExitCode
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import RoomView
from greenroom.wire.requests import ChangeRoom, CreateRoom

CHANGEABLE = ("name", "roles", "entry_role", "max_requests")


def create(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    body = CreateRoom(
        name=arguments.name,
        roles=parse_names(arguments.roles),
        entry_role=arguments.entry_role,
        max_requests=arguments.max_requests,
    )
    room = open_session(settings).create_room(body)
    print_room(room, arguments, out)
    print(f"next: greenroom send {room.name} TEXT, or let an agent join:", file=err)
    print(f"      greenroom wait-for-task {room.name} --role {room.entry_role}", file=err)
    return ExitCode.DONE


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = open_session(settings)
    rooms = read_pages(lambda after: session.rooms(after, settings.limits.page_max))
    if arguments.json:
        print_json(out, rooms)
    elif rooms:
        rows = [(room.name, room.status, ", ".join(room.roles), room.entry_role, room.id) for room in rooms]
        print_table(out, Table("", ("ROOM", "STATUS", "ROLES", "ENTRY", "ID"), rows))
    else:
        print("No rooms yet. Create one: greenroom room create NAME --roles A,B", file=err)
    return ExitCode.DONE


def show(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    print_room(open_session(settings).snapshot(arguments.room), arguments, out)
    return ExitCode.DONE


def close(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    print_room(open_session(settings).close_room(arguments.room, arguments.reason), arguments, out)
    return ExitCode.DONE


def change(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    changes = {name: getattr(arguments, name) for name in CHANGEABLE if getattr(arguments, name) is not None}
    if not changes:
        raise UsageError("No change was given.", f"Give at least one of: {', '.join(map(format_option, CHANGEABLE))}.")
    if "roles" in changes:
        changes["roles"] = parse_names(changes["roles"])
    body = ChangeRoom(**changes, reason=arguments.reason)
    room = open_session(settings).change_room(arguments.room, body)
    print_room(room, arguments, out)
    if "name" in changes:
        print(f"Its participants stay. From now on the room is called {room.name}.", file=err)
    return ExitCode.DONE


def delete(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    open_session(settings).delete_room(arguments.room)
    if arguments.json:
        print_json(out, {"room": arguments.room, "status": "deleted"})
    else:
        print(f"{arguments.room} is deleted with its tasks, messages and events", file=out)
    return ExitCode.DONE


def parse_names(typed: str) -> list[str]:
    """Parse a list of names separated by commas."""
    return [name.strip() for name in typed.split(",") if name.strip()]


def format_option(name: str) -> str:
    return "--" + name.replace("_", "-")


def print_room(room: RoomView, arguments: Namespace, out: TextIO) -> None:
    if arguments.json:
        print_json(out, room)
        return
    print_table(out, roles_table(room, SystemClock().wall()))
    if room.tasks:
        print_table(out, tasks_table("Open tasks", room.tasks))
