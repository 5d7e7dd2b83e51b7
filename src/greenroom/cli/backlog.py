"""`greenroom backlog ...`: tasks that wait for a user to queue them, or to accept their results."""

from argparse import Namespace
from typing import TextIO

from greenroom.cli.board import tasks_table
from greenroom.cli.connection import all_of, session_of
from greenroom.cli.output import print_json
from greenroom.cli.table import print_table
from greenroom.cli.task import print_task
from greenroom.client.session import Session
from greenroom.domain.task import BACKLOG, PENDING_REVIEW, Task
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import AddToBacklog


def add(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    task = session_of(settings).add_to_backlog(arguments.room, AddToBacklog(text=arguments.text, to=arguments.to))
    if arguments.json:
        print_json(out, task)
    else:
        print(f"{task.id} for {task.target_role} is in the backlog", file=out)
    print(f"next, to queue it: greenroom backlog queue {task.id}", file=err)
    return 0


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """List the tasks whose results wait for review, then those that wait to be queued."""
    session = session_of(settings)
    tasks = [task for status in (PENDING_REVIEW, BACKLOG) for task in in_state(session, arguments.room, status)]
    if arguments.json:
        print_json(out, tasks)
    elif tasks:
        print_table(out, tasks_table("", tasks))
        print("next: greenroom backlog queue TASK; for a task that is pending_review:", file=err)
        print("      greenroom backlog accept TASK, or greenroom backlog send-back TASK --reason WHY", file=err)
    else:
        print(f"The backlog is empty. Add a task: greenroom backlog add {arguments.room} TEXT", file=err)
    return 0


def queue(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).queue(arguments.task, arguments.reason), arguments, out)


def accept(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).accept(arguments.task, None, arguments.reason), arguments, out)


def send_back(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    sent = session_of(settings).send_back(arguments.task, arguments.to, arguments.reason)
    return print_task(sent, arguments, out)


def in_state(session: Session, room: str, status: str) -> list[Task]:
    return all_of(lambda after: session.tasks(room, status, after, session.limits.page_max))
