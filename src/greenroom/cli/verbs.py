"""The table of verbs. Parsing, help, completion and `docs/cli.md` are generated from it.

`Verb.function` is a name, imported only when that verb is run.
"""

from argparse import SUPPRESS, ArgumentTypeError
from typing import Any, NamedTuple

from greenroom.domain.task import STATES
from greenroom.exit_codes import ExitCode

PROJECT = "project"
"""The verb's settings include the project's `greenroom.toml`."""
NO_PROJECT = "plain"
"""The verb's settings leave the project out: a mistake in that file must not fail an agent's call."""
OWN_RESOLUTION = "self"
"""The verb resolves the settings itself, because it reports errors in them or needs none."""


class Argument(NamedTuple):
    """One argument for argparse: its names and its options."""

    names: tuple[str, ...]
    options: dict[str, Any]


class RoleAddress(NamedTuple):
    """A role of a room, typed as ROOM/ROLE."""

    room: str
    role: str

    def __str__(self) -> str:
        return f"{self.room}/{self.role}"


class Verb(NamedTuple):
    """One verb. `text` is None, "optional" or "required"; `reads` is PROJECT, NO_PROJECT or OWN_RESOLUTION.

    A verb that `is_long_running` prints no data: its output is written in the background.
    """

    name: str
    help: str
    function: str
    arguments: tuple[Argument, ...] = ()
    detail: str = ""
    aliases: tuple[str, ...] = ()
    json: bool = True
    text: str | None = None
    reads: str = NO_PROJECT
    takes_command: bool = False
    is_long_running: bool = False


def argument(*names: str, **options: Any) -> Argument:
    return Argument(names, options)


def parse_role_address(typed: str) -> RoleAddress:
    """Parse ROOM/ROLE. Raises ArgumentTypeError."""
    room, slash, role = typed.partition("/")
    if not (room and slash and role):
        raise ArgumentTypeError(f"{typed!r} is not ROOM/ROLE")
    return RoleAddress(room, role)


def parse_positive(typed: str) -> int:
    """Parse a whole number above 0. Raises ArgumentTypeError."""
    if not typed.isascii() or not typed.isdigit() or int(typed) < 1:
        raise ArgumentTypeError(f"{typed!r} is not a whole number above 0")
    return int(typed)


def parse_seconds(typed: str) -> float:
    """Parse a duration in seconds, from 0 to below 1e9. Raises ArgumentTypeError."""
    try:
        value = float(typed)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise ArgumentTypeError(f"{typed!r} is not a number of seconds")
    return value


def parse_limit(typed: str) -> float:
    """Parse a duration in seconds; `none` and 0 mean no limit and give 0.0. Raises ArgumentTypeError."""
    return 0.0 if typed == "none" else parse_seconds(typed)


ROOM = argument("room", metavar="ROOM", help="the room's name or id")
OPTIONAL_ROOM = argument("room", metavar="ROOM", nargs="?", help="the room's name or id (default: all rooms)")
ROLE_ADDRESS = argument("role_address", metavar="ROOM/ROLE", type=parse_role_address, help="one role of one room")
TASK = argument("task", metavar="TASK", help="the task's id")
REASON = argument("--reason", help="the reason, which is kept on record")
TEXT = argument("text", metavar="TEXT", nargs="?", help="the text; `-` reads it from standard input")
URL = argument("--url", help="the server (default: GREENROOM_URL, the user's config, http://127.0.0.1:6464)")
DATA_DIR = argument("--data-dir", metavar="DIR", help="the data directory (default: GREENROOM_DATA_DIR, XDG state)")
CONFIG = argument(
    "--config",
    metavar="FILE",
    help="the project's greenroom.toml (default: the nearest, in this or a parent directory)",
)
CLAIM = (
    argument("--task", metavar="T", help="the id of your task, as printed with it"),
    argument("--attempt", metavar="N", type=parse_positive, help="your attempt's number, as printed with the task"),
    argument("--room", help="your room, without --task (default: GREENROOM_ROOM)"),
    argument("--role", help="your role, without --task (default: GREENROOM_ROLE)"),
)
DATABASE = argument(
    "--database",
    metavar="URL",
    help="postgresql://... (default: GREENROOM_DATABASE, else SQLite in the data directory)",
)
FOLLOW = argument("--follow", metavar="FD", type=parse_positive, help=SUPPRESS)
"""Used by `up`: the process exits when the other end of this file descriptor is closed."""
SPEC = (
    argument(
        "--kind", choices=("remote", "custom"), help="what runs it: a machine's daemon (remote) or a user (custom)"
    ),
    argument("--machine", help="the machine that runs it"),
    argument("--harness", help="one of that machine's harnesses"),
    argument("--model", help="the model that the harness uses"),
    argument("--workdir", help="its working directory on that machine"),
    argument(
        "--task-timeout",
        dest="task_timeout_s",
        metavar="S",
        type=parse_limit,
        help="seconds after which a run is stopped and counts as a failure; 0 or `none`: no limit",
    ),
    argument(
        "--empty",
        choices=("ok", "failure"),
        help="what a run is that ends with 0 and prints nothing: a result with a warning (ok), or a failure",
    ),
    argument("--desired", choices=("running", "stopped"), help="whether it should run"),
    argument(
        "--now", action="store_true", help="apply the change now, and stop the run at work (default: the next run)"
    ),
)

AGENTS = (
    Verb(
        "wait-for-task",
        "join a role and wait for its next task",
        "greenroom.agent.wait:run",
        (
            ROOM,
            argument("--role", required=True, help="the role to join"),
            argument(
                "--timeout",
                metavar="S",
                type=parse_seconds,
                help=f"stop waiting after S seconds with exit code {ExitCode.NOTHING_YET}",
            ),
            argument("--take-over", action="store_true", help="take the role over from the agent that holds it"),
        ),
        f"Prints the task and exits with {ExitCode.DONE}. Exit code {ExitCode.NOTHING_YET} means that there is none "
        "yet:\ncall it again at once.",
        aliases=("get-next-task",),
    ),
    Verb("task-started", "report that you start the task", "greenroom.agent.report:run_started", CLAIM),
    Verb(
        "report-progress",
        "report your progress",
        "greenroom.agent.report:run_progress",
        (*CLAIM, TEXT),
        text="required",
    ),
    Verb(
        "task-complete",
        "give your result to the user and end the request",
        "greenroom.agent.report:run_complete",
        (*CLAIM, TEXT),
        text="optional",
    ),
    Verb(
        "handoff",
        "hand your result to the next role",
        "greenroom.agent.report:run_handoff",
        (argument("--to", metavar="ROLE", required=True, help="the role to hand it to, or `user`"), *CLAIM, TEXT),
        text="required",
    ),
    Verb(
        "decline",
        "decline the task and say why; a user then decides",
        "greenroom.agent.report:run_decline",
        (*CLAIM, TEXT),
        text="required",
    ),
    Verb(
        "work",
        "wait for tasks and run a command once for each",
        "greenroom.agent.work:run",
        (
            ROOM,
            argument("--role", required=True, help="the role to join"),
            argument(
                "--then",
                metavar="ROLE",
                help="the role that gets the output (default: the next role; after the last, the user)",
            ),
        ),
        "The command reads the task from standard input. If it exits with 0, its output\n"
        "is handed on; otherwise the task is released and retried.",
        takes_command=True,
    ),
)

SERVER_AND_DAEMON = (
    Verb(
        "up",
        "start the server, this machine's daemon and the team of greenroom.toml",
        "greenroom.cli.up:run",
        (
            CONFIG,
            argument("--listen", metavar="HOST:PORT", help="where the server listens (default: 127.0.0.1:6464)"),
            DATABASE,
            argument(
                "--say",
                metavar="TEXT",
                action="append",
                default=[],
                help="send this message to the project's room if it has no message yet; may be repeated",
            ),
        ),
        "Ctrl-C stops everything that it started.",
        json=False,
        is_long_running=True,
        reads=PROJECT,
    ),
    Verb(
        "server",
        "run only the server",
        "greenroom.server.run:run",
        (
            argument("--listen", metavar="HOST:PORT", help="where to listen (default: 127.0.0.1:6464)"),
            argument("--allow-host", metavar="NAME", action="append", help="another host name that clients use"),
            FOLLOW,
            argument("--require-store", action="store_true", help=SUPPRESS),
            DATABASE,
        ),
        json=False,
        is_long_running=True,
    ),
    Verb(
        "daemon start",
        "run this machine's agents",
        "greenroom.daemon.run:start",
        (
            CONFIG,
            FOLLOW,
            argument("--machine", help="this machine's name (default: the host's)"),
            argument(
                "--token",
                help="the token for the server; `-` reads it from standard input, which keeps it out of the process "
                "list (default: GREENROOM_TOKEN, the one `greenroom login` stored, or this machine's own)",
            ),
        ),
        "It also starts while the server is unreachable, and retries until it connects.\n"
        "For a server on another machine, create a token there: greenroom machine token NAME,\n"
        "and start the daemon here: greenroom daemon start --machine NAME.",
        json=False,
        is_long_running=True,
        reads=PROJECT,
    ),
    Verb("daemon stop", "stop this machine's daemon and its agents", "greenroom.daemon.run:stop", json=False),
    Verb("daemon status", "show the state of this machine's daemon", "greenroom.daemon.run:status"),
    Verb(
        "status",
        "show what needs you, then machines, rooms, roles and tasks",
        "greenroom.cli.status:run",
        (argument("--watch", action="store_true", help="keep it up to date until Ctrl-C"),),
    ),
    Verb("why", "explain the state of a role from its recorded history", "greenroom.cli.why:run", (ROLE_ADDRESS,)),
    Verb(
        "doctor",
        "check this installation and say how to fix it",
        "greenroom.cli.doctor:run",
        (CONFIG,),
        reads=OWN_RESOLUTION,
    ),
    Verb(
        "config",
        "show every setting in force and its origin",
        "greenroom.cli.config:run",
        (CONFIG,),
        reads=PROJECT,
    ),
    Verb(
        "login",
        "store a token for a server on another machine",
        "greenroom.cli.login:run",
        (
            argument("server", metavar="URL", nargs="?", help="the server (default: the configured one)"),
            argument("--forget", action="store_true", help="remove the stored token instead"),
        ),
        "Prompts for the token, or reads it from standard input. It is stored only if the\nserver accepts it.",
    ),
    Verb(
        "completion",
        "print a completion script for a shell",
        "greenroom.cli.completion:run",
        (argument("shell", choices=("bash", "zsh"), help="the shell"),),
        'For bash: eval "$(greenroom completion bash)" in ~/.bashrc.\n'
        "For zsh: greenroom completion zsh > ~/.zfunc/_greenroom, with that folder in fpath before compinit.",
        json=False,
        reads=OWN_RESOLUTION,
    ),
)

ROOMS = (
    Verb(
        "room create",
        "create a room",
        "greenroom.cli.room:create",
        (
            argument("name", metavar="NAME", help="its name; no other room may have it"),
            argument("--roles", metavar="A,B,...", required=True, help="its roles, in order"),
            argument("--entry-role", metavar="ROLE", help="the role for the user's messages (default: the first)"),
            argument(
                "--max-requests", metavar="N", type=parse_positive, default=1, help="requests at once (default: 1)"
            ),
        ),
    ),
    Verb("room list", "list the rooms", "greenroom.cli.room:list_all"),
    Verb("room show", "show one room", "greenroom.cli.room:show", (ROOM,)),
    Verb(
        "room change",
        "change a room; options left out keep their values",
        "greenroom.cli.room:change",
        (
            ROOM,
            argument("--name", help="its new name"),
            argument("--roles", metavar="A,B,...", help="all its roles, in their new order"),
            argument("--entry-role", metavar="ROLE", help="the role for the user's messages"),
            argument("--max-requests", metavar="N", type=parse_positive, help="requests at once"),
            REASON,
        ),
        "A role that has a participant or work cannot be removed.",
    ),
    Verb("room close", "close a room that has no open task", "greenroom.cli.room:close", (ROOM, REASON)),
    Verb(
        "room delete",
        "delete a closed room with its tasks, messages and events",
        "greenroom.cli.room:delete",
        (ROOM,),
    ),
    Verb(
        "send",
        "send a room a message, which becomes a task",
        "greenroom.cli.messages:send",
        (ROOM, TEXT, argument("--to", metavar="ROLE", help="the role that gets it (default: the room's entry role)")),
        text="required",
    ),
    Verb(
        "messages",
        "read a room's messages",
        "greenroom.cli.messages:show",
        (ROOM, argument("--follow", action="store_true", help="keep printing new messages")),
    ),
    Verb(
        "watch",
        "print events as they happen",
        "greenroom.cli.messages:run",
        (
            OPTIONAL_ROOM,
            argument("--from-start", action="store_true", help="start with the first event, not with the next one"),
        ),
    ),
    Verb(
        "task list",
        "list a room's tasks",
        "greenroom.cli.task:list_all",
        (ROOM, argument("--status", choices=STATES, help="only tasks in this state")),
    ),
    Verb("task show", "show everything about a task", "greenroom.cli.task:show", (TASK,)),
    Verb(
        "task reset",
        "take a task from its holder, so that it can be claimed again",
        "greenroom.cli.task:reset",
        (TASK, REASON),
    ),
    Verb("task cancel", "close a task for good", "greenroom.cli.task:cancel", (TASK, REASON)),
    Verb(
        "task retry",
        "retry a quarantined task",
        "greenroom.cli.task:retry",
        (TASK, argument("--to", metavar="ROLE", help="use another role, as a new task of the same request"), REASON),
    ),
    Verb(
        "task accept",
        "accept a result that waits for review, or a late result",
        "greenroom.cli.task:accept",
        (
            TASK,
            argument("--attempt", metavar="N", type=parse_positive, help="the attempt that gave the late result"),
            REASON,
        ),
        "Completes the task with that result, and stops an agent that still works on it.",
    ),
    Verb(
        "note",
        "leave a note for the agent that works on a task",
        "greenroom.cli.task:note",
        (TASK, TEXT),
        text="required",
    ),
    Verb(
        "backlog add",
        "add a task to the backlog",
        "greenroom.cli.task:add",
        (ROOM, TEXT, argument("--to", metavar="ROLE", help="the role that gets it (default: the entry role)")),
        "The task waits until a user queues it, and its result until a user accepts it.",
        text="required",
    ),
    Verb("backlog list", "list tasks that wait to be queued or accepted", "greenroom.cli.task:list_backlog", (ROOM,)),
    Verb("backlog queue", "queue a task; it starts in its turn", "greenroom.cli.task:queue", (TASK, REASON)),
    Verb("backlog accept", "accept a result that waits for review", "greenroom.cli.task:accept_result", (TASK, REASON)),
    Verb(
        "backlog send-back",
        "send a task back to its role or to the backlog",
        "greenroom.cli.task:send_back",
        (
            TASK,
            argument("--to", choices=("pending", "backlog"), help="to its role (pending) or to the backlog"),
            argument("--reason", help="the reason; the next agent that works on it reads this"),
        ),
        "Without --to, a task whose result waits for review goes back to its role, and a\n"
        "task that has not been started goes back to the backlog.",
    ),
)

MACHINES = (
    Verb(
        "agent set",
        "set the agent spec of a role; options left out keep their values",
        "greenroom.cli.agents:set_spec",
        (ROLE_ADDRESS, *SPEC, REASON),
    ),
    Verb("agent start", "start a role's agent", "greenroom.cli.agents:start", (ROLE_ADDRESS, REASON)),
    Verb("agent stop", "stop a role's agent; its tasks wait", "greenroom.cli.agents:stop", (ROLE_ADDRESS, REASON)),
    Verb(
        "agent restart", "stop a role's agent and run it again", "greenroom.cli.agents:restart", (ROLE_ADDRESS, REASON)
    ),
    Verb(
        "agent token",
        "create a token that is valid for one role only",
        "greenroom.cli.agents:make_agent_token",
        (ROLE_ADDRESS,),
    ),
    Verb("machine list", "list the machines", "greenroom.cli.agents:list_all"),
    Verb(
        "machine token",
        "create a token for one machine's daemon",
        "greenroom.cli.agents:make_machine_token",
        (argument("machine", metavar="MACHINE", help="the machine's name"),),
    ),
)

SECTIONS = (
    ("Running Greenroom", SERVER_AND_DAEMON),
    ("Rooms and work", ROOMS),
    ("Agents and machines", MACHINES),
    ("Commands for agents", AGENTS),
)
VERBS: tuple[Verb, ...] = tuple(verb for _, verbs in SECTIONS for verb in verbs)
GROUPS = {
    "daemon": "this machine's daemon",
    "room": "rooms",
    "task": "tasks",
    "backlog": "tasks that wait for a user",
    "agent": "the agents of roles",
    "machine": "machines",
}
JSON = argument("--json", action="store_true", help="print JSON with the API's field names")


def all_arguments(verb: Verb) -> tuple[Argument, ...]:
    """All arguments of a verb, including those that every verb has."""
    return (*verb.arguments, *((JSON,) if verb.json else ()), URL, DATA_DIR)
