"""The one table of verbs: parsing, help, completion and documentation are drawn from it. Must not import what they do.

`function` is imported by its name when the verb is run, and only then.
"""

from argparse import SUPPRESS, ArgumentTypeError
from typing import Any, NamedTuple

from greenroom.domain.task import STATES

PROJECT = "project"
"""The verb's settings include the project's `greenroom.toml`."""
PLAIN = "plain"
"""The verb's settings leave the project out: an agent's call must not fail because somebody edits that file."""
SELF = "self"
"""The verb settles the configuration by itself, since it is about what may be wrong with it."""


class Argument(NamedTuple):
    """One argument as argparse takes it: its names and its options."""

    names: tuple[str, ...]
    options: dict[str, Any]


class Seat(NamedTuple):
    """A role of a room, typed as ROOM/ROLE."""

    room: str
    role: str

    def __str__(self) -> str:
        return f"{self.room}/{self.role}"


class Verb(NamedTuple):
    """One verb. `text` says whether it takes a text, and whether it needs one."""

    name: str
    help: str
    function: str
    arguments: tuple[Argument, ...] = ()
    detail: str = ""
    aliases: tuple[str, ...] = ()
    json: bool = True
    text: str | None = None
    reads: str = PLAIN
    takes_command: bool = False


def argument(*names: str, **options: Any) -> Argument:
    return Argument(names, options)


def seat(typed: str) -> Seat:
    """Read ROOM/ROLE."""
    room, slash, role = typed.partition("/")
    if not (room and slash and role):
        raise ArgumentTypeError(f"{typed!r} is not ROOM/ROLE")
    return Seat(room, role)


def positive(typed: str) -> int:
    """Read a whole number above 0."""
    if not typed.isascii() or not typed.isdigit() or int(typed) < 1:
        raise ArgumentTypeError(f"{typed!r} is not a whole number above 0")
    return int(typed)


def seconds(typed: str) -> float:
    """Read a duration in seconds."""
    try:
        value = float(typed)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise ArgumentTypeError(f"{typed!r} is not a number of seconds")
    return value


def limit(typed: str) -> float:
    """Read a duration in seconds, where `none` and 0 stand for no limit; 0.0 is that."""
    return 0.0 if typed == "none" else seconds(typed)


ROOM = argument("room", metavar="ROOM", help="the room's name or id")
ROOM_MAYBE = argument("room", metavar="ROOM", nargs="?", help="the room's name or id; all rooms when left out")
SEAT = argument("seat", metavar="ROOM/ROLE", type=seat, help="one role of one room")
TASK = argument("task", metavar="TASK", help="the task's id")
REASON = argument("--reason", help="why, for the record and for whoever looks later")
TEXT = argument("text", metavar="TEXT", nargs="?", help="the text; `-`, or leaving it out, reads standard input")
URL = argument("--url", help="the server (default: GREENROOM_URL, the user's config, http://127.0.0.1:6464)")
DATA_DIR = argument("--data-dir", metavar="DIR", help="where state lies (default: GREENROOM_DATA_DIR, XDG state)")
CONFIG = argument("--config", metavar="FILE", help="the project's greenroom.toml (default: the nearest one above here)")
CLAIM = (
    argument("--task", metavar="T", help="the task you work on, as it was printed with the task"),
    argument("--attempt", metavar="N", type=positive, help="the attempt you are, as it was printed with the task"),
    argument("--room", help="your room, where --task is left out (default: GREENROOM_ROOM)"),
    argument("--role", help="your role, where --task is left out (default: GREENROOM_ROLE)"),
)
DATABASE = argument(
    "--database",
    metavar="URL",
    help="postgresql://... (default: GREENROOM_DATABASE, else SQLite in the data directory)",
)
FOLLOW = argument("--follow", metavar="FD", type=positive, help=SUPPRESS)
"""For `up`: end when the other end of this file descriptor is closed."""
WISH = (
    argument(
        "--kind", choices=("remote", "custom"), help="who runs it: a machine's daemon (remote) or a person (custom)"
    ),
    argument("--machine", help="the machine that is to run it"),
    argument("--harness", help="which of that machine's harnesses"),
    argument("--model", help="which model the harness is to use"),
    argument("--workdir", help="where it works, on that machine"),
    argument(
        "--task-timeout",
        dest="task_timeout_s",
        metavar="S",
        type=limit,
        help="after how many seconds a run is stopped, which counts as a death; 0 or `none`: never",
    ),
    argument("--desired", choices=("running", "stopped"), help="whether it should run"),
)

AGENTS = (
    Verb(
        "wait-for-task",
        "sit in a role and wait for its next task",
        "greenroom.agent.wait:run",
        (
            ROOM,
            argument("--role", required=True, help="the role to sit in"),
            argument("--timeout", metavar="S", type=seconds, help="stop waiting after S seconds with exit code 75"),
            argument("--take-over", action="store_true", help="take the role from whoever sits in it"),
        ),
        "Prints the task and ends with 0. With 75 there was none yet: call it again at once.",
        aliases=("get-next-task",),
    ),
    Verb("task-started", "say that you begin", "greenroom.agent.report:run_started", CLAIM),
    Verb(
        "report-progress", "say how far you are", "greenroom.agent.report:run_progress", (*CLAIM, TEXT), text="required"
    ),
    Verb(
        "task-complete",
        "hand your result to the user and end the request",
        "greenroom.agent.report:run_complete",
        (*CLAIM, TEXT),
        text="optional",
    ),
    Verb(
        "handoff",
        "hand your result on to the next role",
        "greenroom.agent.report:run_handoff",
        (argument("--to", metavar="ROLE", required=True, help="the role to hand to, or `user`"), *CLAIM, TEXT),
        text="required",
    ),
    Verb(
        "decline",
        "say why you cannot do the task; a person looks at it then",
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
            argument("--role", required=True, help="the role to sit in"),
            argument(
                "--then", metavar="ROLE", help="who gets the output (default: the next role, after the last the user)"
            ),
        ),
        "The command gets the task on standard input. When it ends with 0 its output is handed on; otherwise the task\n"
        "is released and tried again.",
        takes_command=True,
    ),
)

HOUSE = (
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
                help="send the project's room this, if it has no message yet; may be given more than once",
            ),
        ),
        "Ctrl-C stops everything that it started.",
        json=False,
        reads=PROJECT,
    ),
    Verb(
        "server",
        "run the server alone",
        "greenroom.server.run:run",
        (
            argument("--listen", metavar="HOST:PORT", help="where to listen (default: 127.0.0.1:6464)"),
            argument("--allow-host", metavar="NAME", action="append", help="a further name that people reach it by"),
            FOLLOW,
            DATABASE,
        ),
        json=False,
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
                help="the token for the server; `-` reads it from standard input, so that it is in no list of "
                "processes (default: GREENROOM_TOKEN, what `greenroom login` stored, or this machine's own)",
            ),
        ),
        "It starts also while the server cannot be reached, and tries until it can. For a server on another machine,\n"
        "make a token there: greenroom machine token NAME, and here: greenroom daemon start --machine NAME.",
        json=False,
        reads=PROJECT,
    ),
    Verb("daemon stop", "stop this machine's daemon and its agents", "greenroom.daemon.run:stop", json=False),
    Verb("daemon status", "tell what this machine's daemon does", "greenroom.daemon.run:status"),
    Verb(
        "status",
        "show rooms, roles, tasks and machines; first what needs a person",
        "greenroom.cli.status:run",
        (argument("--watch", action="store_true", help="keep showing it as it changes"),),
    ),
    Verb("why", "tell why a role is as it is, from the evidence", "greenroom.cli.why:run", (SEAT,)),
    Verb("doctor", "examine this installation and say what to do", "greenroom.cli.doctor:run", (CONFIG,), reads=SELF),
    Verb(
        "config",
        "show every setting in force and where it came from",
        "greenroom.cli.config:run",
        (CONFIG,),
        reads=PROJECT,
    ),
    Verb(
        "login",
        "store a token for a server on another machine",
        "greenroom.cli.login:run",
        (
            argument("server", metavar="URL", nargs="?", help="the server (default: the one in force)"),
            argument("--forget", action="store_true", help="remove the token that is stored for it"),
        ),
        "The token is asked for, or read from standard input; it is tried at the server before it is stored.",
    ),
    Verb(
        "completion",
        "print a completion script for a shell",
        "greenroom.cli.completion:run",
        (argument("shell", choices=("bash", "zsh"), help="the shell that is to complete"),),
        'For bash: eval "$(greenroom completion bash)" in ~/.bashrc.\n'
        "For zsh: greenroom completion zsh > ~/.zfunc/_greenroom, with that folder in fpath before compinit.",
        json=False,
        reads=SELF,
    ),
)

ROOMS = (
    Verb(
        "room create",
        "open a room",
        "greenroom.cli.room:create",
        (
            argument("name", metavar="NAME", help="a name that no other room has"),
            argument("--roles", metavar="A,B,...", required=True, help="its roles, in order"),
            argument("--entry-role", metavar="ROLE", help="who gets the user's messages (default: the first role)"),
            argument("--max-requests", metavar="N", type=positive, default=1, help="requests at one time (default: 1)"),
        ),
    ),
    Verb("room list", "list the rooms", "greenroom.cli.room:list_all"),
    Verb("room show", "show one room", "greenroom.cli.room:show", (ROOM,)),
    Verb(
        "room change",
        "change a room; what is left out stays as it is",
        "greenroom.cli.room:change",
        (
            ROOM,
            argument("--name", help="its new name"),
            argument("--roles", metavar="A,B,...", help="all its roles, in their new order"),
            argument("--entry-role", metavar="ROLE", help="who gets the user's messages"),
            argument("--max-requests", metavar="N", type=positive, help="requests at one time"),
            REASON,
        ),
        "A role that somebody sits in, or that has work, cannot be taken out.",
    ),
    Verb("room close", "close a room that has no open task", "greenroom.cli.room:close", (ROOM, REASON)),
    Verb(
        "room delete",
        "delete a closed room with all that was said and done there",
        "greenroom.cli.room:delete",
        (ROOM,),
    ),
    Verb(
        "send",
        "give a room work",
        "greenroom.cli.messages:send",
        (ROOM, TEXT, argument("--to", metavar="ROLE", help="the role that gets it (default: the room's entry role)")),
        text="required",
    ),
    Verb(
        "messages",
        "read a room's messages",
        "greenroom.cli.messages:show",
        (ROOM, argument("--follow", action="store_true", help="wait for more")),
    ),
    Verb(
        "watch",
        "follow what happens",
        "greenroom.cli.watch:run",
        (
            ROOM_MAYBE,
            argument("--from-start", action="store_true", help="begin with the first event, not with the next"),
        ),
    ),
    Verb(
        "task list",
        "list a room's tasks",
        "greenroom.cli.task:list_all",
        (ROOM, argument("--status", choices=STATES, help="only tasks in this state")),
    ),
    Verb("task show", "show one task whole", "greenroom.cli.task:show", (TASK,)),
    Verb(
        "task reset",
        "take a task from its holder and let it be claimed anew",
        "greenroom.cli.task:reset",
        (TASK, REASON),
    ),
    Verb("task cancel", "close a task for good", "greenroom.cli.task:cancel", (TASK, REASON)),
    Verb(
        "task retry",
        "let a quarantined task be tried again",
        "greenroom.cli.task:retry",
        (TASK, argument("--to", metavar="ROLE", help="by another role, as a new task of the same request"), REASON),
    ),
    Verb(
        "task accept",
        "take a result: one that waits for a review, or a late one",
        "greenroom.cli.task:accept",
        (TASK, argument("--attempt", metavar="N", type=positive, help="the attempt whose late result it is"), REASON),
        "The task is completed with it, and whoever works on it is stopped.",
    ),
    Verb(
        "note",
        "tell whoever works on a task something",
        "greenroom.cli.task:note",
        (TASK, TEXT),
        text="required",
    ),
    Verb(
        "backlog add",
        "keep work for later",
        "greenroom.cli.backlog:add",
        (ROOM, TEXT, argument("--to", metavar="ROLE", help="the role that is to get it (default: the entry role)")),
        "It is done when somebody queues it, and its result waits until somebody accepts it.",
        text="required",
    ),
    Verb("backlog list", "list what waits to be queued or accepted", "greenroom.cli.backlog:list_all", (ROOM,)),
    Verb("backlog queue", "have it done when it is its turn", "greenroom.cli.backlog:queue", (TASK, REASON)),
    Verb("backlog accept", "take the result that waits for a review", "greenroom.cli.backlog:accept", (TASK, REASON)),
    Verb(
        "backlog send-back",
        "have it done better, or not now",
        "greenroom.cli.backlog:send_back",
        (
            TASK,
            argument("--to", choices=("pending", "backlog"), help="to its role, or back into the backlog"),
            argument("--reason", help="why: whoever works on it next is told"),
        ),
        "A result that waits for a review goes back to its role unless --to says otherwise; a task that nobody has\n"
        "begun goes back into the backlog.",
    ),
)

MACHINES = (
    Verb(
        "agent set",
        "wish who works in a role; what is left out stays as it is",
        "greenroom.cli.agent:set_wish",
        (SEAT, *WISH, REASON),
    ),
    Verb("agent start", "wish that a role's agent runs", "greenroom.cli.agent:start", (SEAT, REASON)),
    Verb("agent stop", "wish that it does not run; its tasks wait", "greenroom.cli.agent:stop", (SEAT, REASON)),
    Verb("agent restart", "stop a role's agent and run it again", "greenroom.cli.agent:restart", (SEAT, REASON)),
    Verb("agent token", "make a token that may act for one role only", "greenroom.cli.agent:token", (SEAT,)),
    Verb("machine list", "list the machines", "greenroom.cli.machine:list_all"),
    Verb(
        "machine token",
        "make a token that one machine's daemon may use",
        "greenroom.cli.machine:token",
        (argument("machine", metavar="MACHINE", help="the machine's name"),),
    ),
)

SECTIONS = (
    ("Running the house", HOUSE),
    ("Rooms and work", ROOMS),
    ("Agents and machines", MACHINES),
    ("What agents call", AGENTS),
)
VERBS: tuple[Verb, ...] = tuple(verb for _, verbs in SECTIONS for verb in verbs)
GROUPS = {
    "daemon": "this machine's daemon",
    "room": "rooms",
    "task": "tasks",
    "backlog": "work that waits for a person's word",
    "agent": "the wishes for a room's agents",
    "machine": "machines",
}
JSON = argument("--json", action="store_true", help="print JSON, with the API's names")


def arguments_of(verb: Verb) -> tuple[Argument, ...]:
    """All arguments of a verb, with those that every verb has."""
    return (*verb.arguments, *((JSON,) if verb.json else ()), URL, DATA_DIR)
