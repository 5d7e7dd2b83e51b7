"""`greenroom agent ...`: sets agent specs, and starts, stops and restarts the agents of roles.

The API takes an agent spec as a whole. So the present spec is read first, and options left out keep their values.
"""

from argparse import Namespace
from pathlib import PurePosixPath
from typing import Any, TextIO

from greenroom.cli.amounts import duration
from greenroom.cli.connection import session_of
from greenroom.cli.evidence import role_of
from greenroom.cli.exits import WrongUsage
from greenroom.cli.output import print_json
from greenroom.cli.table import Table, print_table
from greenroom.domain.role import CUSTOM, REMOTE, RUNNING, STOPPED
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import RoleView
from greenroom.wire.requests import SetAgent

WISHED = ("kind", "machine", "harness", "model", "workdir", "desired", "task_timeout_s")


def set_wish(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    changes = {name: getattr(arguments, name) for name in WISHED if getattr(arguments, name) is not None}
    check_workdir(arguments.workdir)
    if "task_timeout_s" in changes:
        changes["task_timeout_s"] = changes["task_timeout_s"] or None  # 0 removes the limit
    if "kind" not in changes and ("machine" in changes or "harness" in changes):
        changes["kind"] = REMOTE
    if changes.get("kind") == CUSTOM:
        changes = {"machine": None, "harness": None} | changes  # no machine runs what a user runs
    return wish(arguments, settings, out, err, changes)


def check_workdir(workdir: str | None) -> None:
    """Raise WrongUsage for a directory that every machine rejects. Whether it exists, only its machine can check."""
    if workdir and (not PurePosixPath(workdir).is_absolute() or ".." in PurePosixPath(workdir).parts):
        raise WrongUsage(
            f"The working directory {workdir} is not an absolute path without `..`.",
            "Give its absolute path on the machine, without `~` and `..`.",
        )


def start(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return wish(arguments, settings, out, err, {"desired": RUNNING})


def stop(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return wish(arguments, settings, out, err, {"desired": STOPPED})


def restart(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    room, name = arguments.seat
    return print_role(session_of(settings).restart(room, name, arguments.reason), arguments, out, err)


def token(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    reply = session_of(settings).room_token(*arguments.seat)
    if arguments.json:
        print_json(out, reply)
    else:
        print(reply.token, file=out)
    print(f"This token is valid for {arguments.seat} only. Pass it to the agent as GREENROOM_TOKEN.", file=err)
    return 0


def wish(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO, changes: dict[str, Any]) -> int:
    """Change fields of one role's agent spec and keep the others."""
    room, name = arguments.seat
    session = session_of(settings)
    present = role_of(session.snapshot(room), name)
    body = {field: getattr(present, field) for field in WISHED} | changes | {"reason": arguments.reason}
    return print_role(session.wish(room, name, SetAgent(**body)), arguments, out, err)


def print_role(role: RoleView, arguments: Namespace, out: TextIO, err: TextIO) -> int:
    if arguments.json:
        print_json(out, role)
    else:
        heads = ("ROLE", "KIND", "DESIRED", "STATUS", "MACHINE", "HARNESS", "MODEL", "WORKDIR", "TIMEOUT", "GENERATION")
        timeout = duration(role.task_timeout_s) if role.task_timeout_s is not None else None
        spec = (value or "-" for value in (role.machine, role.harness, role.model, role.workdir, timeout))
        row = (role.name, role.kind, role.desired, role.status, *spec, str(role.generation))
        print_table(out, Table("", heads, [row]))
    print(f"next, to see the effect: greenroom why {arguments.seat}", file=err)
    return 0
