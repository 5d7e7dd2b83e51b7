"""`greenroom agent` and `greenroom machine`: changes agent specs, lists machines, and creates tokens for both.

`agent` also starts, stops and restarts the agents of roles. The API takes an agent spec as a whole. So the present spec
is read first, and options left out keep their values.
"""

from argparse import Namespace
from pathlib import PurePosixPath
from typing import Any, TextIO

from greenroom.cli.connection import open_session, read_pages
from greenroom.cli.errors import UsageError
from greenroom.cli.role_history import find_role
from greenroom.cli.status_tables import machines_table
from greenroom.cli.table import Table, print_table
from greenroom.cli.terminal import format_duration, print_json
from greenroom.domain.role import CUSTOM, REMOTE, RUNNING, STOPPED
from greenroom.domain.role_status import WORKING
from greenroom.exit_codes import ExitCode
from greenroom.settings.resolve import Settings, is_loopback
from greenroom.wire.replies import RoleView, TokenReply
from greenroom.wire.requests import SetAgentSpec

SPEC_FIELDS = ("kind", "machine", "harness", "model", "workdir", "desired", "task_timeout_s", "empty")


def set_spec(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    changes = {name: getattr(arguments, name) for name in SPEC_FIELDS if getattr(arguments, name) is not None}
    check_workdir(arguments.workdir)
    if "task_timeout_s" in changes:
        changes["task_timeout_s"] = changes["task_timeout_s"] or None  # 0 removes the limit
    if "kind" not in changes and ("machine" in changes or "harness" in changes):
        changes["kind"] = REMOTE
    if changes.get("kind") == CUSTOM:
        changes = {"machine": None, "harness": None} | changes  # no machine runs what a user runs
    return update_spec(arguments, settings, out, err, changes, arguments.now)


def check_workdir(workdir: str | None) -> None:
    """Raise WrongUsage for a directory that every machine rejects. Whether it exists, only its machine can check."""
    if workdir and (not PurePosixPath(workdir).is_absolute() or ".." in PurePosixPath(workdir).parts):
        raise UsageError(
            f"The working directory {workdir} is not an absolute path without `..`.",
            "Give its absolute path on the machine, without `~` and `..`.",
        )


def start(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return update_spec(arguments, settings, out, err, {"desired": RUNNING})


def stop(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return update_spec(arguments, settings, out, err, {"desired": STOPPED})


def restart(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    room, name = arguments.role_address
    return print_role(open_session(settings).restart(room, name, arguments.reason), arguments, out, err)


def make_agent_token(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    print_token(open_session(settings).room_token(*arguments.role_address), arguments, out)
    print(f"This token is valid for {arguments.role_address} only. Pass it to the agent as GREENROOM_TOKEN.", file=err)
    return ExitCode.DONE


def update_spec(
    arguments: Namespace, settings: Settings, out: TextIO, err: TextIO, changes: dict[str, Any], now: bool = False
) -> int:
    """Change fields of one role's agent spec and keep the others. `now`: the run at work is stopped for it."""
    room, name = arguments.role_address
    session = open_session(settings)
    present = find_role(session.snapshot(room), name)
    body = {field: getattr(present, field) for field in SPEC_FIELDS} | changes | {"reason": arguments.reason}
    role = session.set_agent_spec(room, name, SetAgentSpec(**body, now=now))
    keeps_run = role.generation > present.generation and role.run_generation not in (None, role.generation)
    if keeps_run and present.status == WORKING:
        print(
            "note: a run is at work. It is finished as it began; the change counts for the next run. "
            f"To stop it instead: greenroom agent restart {arguments.role_address}",
            file=err,
        )
    return print_role(role, arguments, out, err)


def print_role(role: RoleView, arguments: Namespace, out: TextIO, err: TextIO) -> int:
    if arguments.json:
        print_json(out, role)
    else:
        heads = ("ROLE", "KIND", "DESIRED", "STATUS", "MACHINE", "HARNESS", "MODEL", "WORKDIR", "TIMEOUT", "GENERATION")
        timeout = format_duration(role.task_timeout_s) if role.task_timeout_s is not None else None
        spec = (value or "-" for value in (role.machine, role.harness, role.model, role.workdir, timeout))
        row = (role.name, role.kind, role.desired, role.status, *spec, str(role.generation))
        print_table(out, Table("", heads, [row]))
    print(f"next, to see the effect: greenroom why {arguments.role_address}", file=err)
    return ExitCode.DONE


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = open_session(settings)
    machines = read_pages(lambda after: session.machines(after, settings.limits.page_max))
    if arguments.json:
        print_json(out, machines)
    elif machines:
        print_table(out, machines_table(machines)._replace(title=""))
    else:
        print("No machines registered. On a machine that should run agents: greenroom daemon start", file=err)
    return ExitCode.DONE


def make_machine_token(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    print_token(open_session(settings).machine_token(arguments.machine), arguments, out)
    print("On that machine, store it in a file that only its owner can read, and start the daemon:", file=err)
    options = f"--machine {arguments.machine} --url {remote_url(settings)} --token - < FILE"
    print(f"  greenroom daemon start {options}", file=err)
    return ExitCode.DONE


def remote_url(settings: Settings) -> str:
    """The server's address for another machine; a placeholder for a loopback address, which needs a tunnel or proxy."""
    return "http://TUNNEL-OR-PROXY" if is_loopback(settings.url) else settings.url


def print_token(reply: TokenReply, arguments: Namespace, out: TextIO) -> None:
    if arguments.json:
        print_json(out, reply)
    else:
        print(reply.token, file=out)
