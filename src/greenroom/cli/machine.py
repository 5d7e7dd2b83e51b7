"""`greenroom machine ...`: lists machines, and creates tokens for their daemons."""

from argparse import Namespace
from typing import TextIO

from greenroom.cli.board import machines_table
from greenroom.cli.connection import all_of, session_of
from greenroom.cli.output import print_json
from greenroom.cli.table import print_table
from greenroom.settings.resolve import Settings, is_loopback


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = session_of(settings)
    machines = all_of(lambda after: session.machines(after, settings.limits.page_max))
    if arguments.json:
        print_json(out, machines)
    elif machines:
        print_table(out, machines_table(machines)._replace(title=""))
    else:
        print("No machines registered. On a machine that should run agents: greenroom daemon start", file=err)
    return 0


def token(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    reply = session_of(settings).machine_token(arguments.machine)
    if arguments.json:
        print_json(out, reply)
    else:
        print(reply.token, file=out)
    print("On that machine, store it in a file that only its owner can read, and start the daemon:", file=err)
    options = f"--machine {arguments.machine} --url {url_there(settings)} --token - < FILE"
    print(f"  greenroom daemon start {options}", file=err)
    return 0


def url_there(settings: Settings) -> str:
    """The server's address for another machine; a placeholder for a loopback address, which needs a tunnel or proxy."""
    return "http://TUNNEL-OR-PROXY" if is_loopback(settings.url) else settings.url
