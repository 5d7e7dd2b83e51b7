"""`greenroom task`, `greenroom note` and `greenroom backlog`: lists and shows tasks, and changes their state.

The backlog has the tasks that wait for a user to queue them, or to accept their results.
"""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

import msgspec

from greenroom.cli.connection import open_session, read_pages
from greenroom.cli.status_tables import tasks_table
from greenroom.cli.table import print_table
from greenroom.cli.terminal import print_json, print_lines
from greenroom.client.api_client import ApiClient
from greenroom.domain.task import BACKLOG, COMPLETED, HELD_STATES, PENDING_REVIEW, QUARANTINED, Task
from greenroom.exit_codes import ExitCode
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import AddToBacklog

TEXTS = ("text", "result", "late_results", "notes")


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = open_session(settings)
    tasks = read_pages(lambda after: session.tasks(arguments.room, arguments.status, after, settings.limits.page_max))
    if arguments.json:
        print_json(out, tasks)
    elif tasks:
        print_table(out, tasks_table("", tasks))
    else:
        print(f"No tasks found. Create one: greenroom send {arguments.room} TEXT", file=err)
    return ExitCode.DONE


def show(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(open_session(settings).task(arguments.task), arguments, out)


def reset(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(open_session(settings).reset(arguments.task, arguments.reason), arguments, out)


def cancel(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(open_session(settings).cancel(arguments.task, arguments.reason), arguments, out)


def retry(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(open_session(settings).retry(arguments.task, arguments.reason, arguments.to), arguments, out)


def accept(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    accepted = open_session(settings).accept(arguments.task, arguments.attempt, arguments.reason)
    return print_task(accepted, arguments, out)


def note(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    task = open_session(settings).note(arguments.task, arguments.text)
    if arguments.json:
        print_json(out, task)
    else:
        print(f"note added to {task.id}, which is {task.status}", file=out)
    when = "with its next heartbeat or report" if task.status in HELD_STATES else "with the task"
    print(f"Its agent gets the note {when}.", file=err)
    return ExitCode.DONE


def print_task(task: Task, arguments: Namespace, out: TextIO) -> int:
    if arguments.json:
        print_json(out, task)
    else:
        print_lines(out, format_task(task))
    return ExitCode.DONE


def format_task(task: Task) -> Iterator[str]:
    """Format a task: its fields that have a value, then its texts, then what a user can do."""
    for name, value in msgspec.structs.asdict(task).items():
        if name not in TEXTS and value not in (None, ""):
            yield f"{name + ':':18}{value}"
    yield f"\ntext:\n{task.text}"
    if task.result is not None:
        yield f"\nresult:\n{task.result}"
    for kept in task.notes:
        during = f", during attempt {kept.attempt}" if kept.attempt is not None else ""
        yield f"\nnote by {kept.by}, at {kept.at}{during}:\n{kept.text}"
    for late in task.late_results:
        yield f"\nlate result of attempt {late.attempt}, to {late.to}, at {late.at}:\n{late.text}"
    yield from (f"\n{line}" for line in list_actions(task))


def list_actions(task: Task) -> Iterator[str]:
    """Commands for a task that waits for a user."""
    if task.status == PENDING_REVIEW:
        yield f"to accept the result: greenroom backlog accept {task.id}"
        yield f"to send it back: greenroom backlog send-back {task.id} --reason WHY"
    if task.status == QUARANTINED:
        yield f"to retry it: greenroom task retry {task.id} (--to ROLE: in another role)"
        yield f"to cancel it: greenroom task cancel {task.id}"
    if task.late_results and task.status not in (COMPLETED, PENDING_REVIEW):
        last = task.late_results[-1].attempt
        yield f"to accept a late result: greenroom task accept {task.id} --attempt {last}"


def add(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    task = open_session(settings).add_to_backlog(arguments.room, AddToBacklog(text=arguments.text, to=arguments.to))
    if arguments.json:
        print_json(out, task)
    else:
        print(f"{task.id} for {task.target_role} is in the backlog", file=out)
    print(f"next, to queue it: greenroom backlog queue {task.id}", file=err)
    return ExitCode.DONE


def list_backlog(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """List the tasks whose results wait for review, then those that wait to be queued."""
    session = open_session(settings)
    tasks = [task for status in (PENDING_REVIEW, BACKLOG) for task in tasks_in_status(session, arguments.room, status)]
    if arguments.json:
        print_json(out, tasks)
    elif tasks:
        print_table(out, tasks_table("", tasks))
        print("next: greenroom backlog queue TASK; for a task that is pending_review:", file=err)
        print("      greenroom backlog accept TASK, or greenroom backlog send-back TASK --reason WHY", file=err)
    else:
        print(f"The backlog is empty. Add a task: greenroom backlog add {arguments.room} TEXT", file=err)
    return ExitCode.DONE


def queue(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(open_session(settings).queue(arguments.task, arguments.reason), arguments, out)


def accept_result(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(open_session(settings).accept(arguments.task, None, arguments.reason), arguments, out)


def send_back(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    sent = open_session(settings).send_back(arguments.task, arguments.to, arguments.reason)
    return print_task(sent, arguments, out)


def tasks_in_status(session: ApiClient, room: str, status: str) -> list[Task]:
    return read_pages(lambda after: session.tasks(room, status, after, session.limits.page_max))
