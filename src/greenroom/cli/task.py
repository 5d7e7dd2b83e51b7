"""`greenroom task ...` and `greenroom note`: lists and shows tasks, and changes their state."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

import msgspec

from greenroom.cli.board import tasks_table
from greenroom.cli.connection import all_of, session_of
from greenroom.cli.output import print_json, print_lines
from greenroom.cli.table import print_table
from greenroom.domain.task import COMPLETED, HELD_STATES, PENDING_REVIEW, QUARANTINED, Task
from greenroom.settings.resolve import Settings

TEXTS = ("text", "result", "late_results", "notes")


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = session_of(settings)
    tasks = all_of(lambda after: session.tasks(arguments.room, arguments.status, after, settings.limits.page_max))
    if arguments.json:
        print_json(out, tasks)
    elif tasks:
        print_table(out, tasks_table("", tasks))
    else:
        print(f"No tasks found. Create one: greenroom send {arguments.room} TEXT", file=err)
    return 0


def show(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).task(arguments.task), arguments, out)


def reset(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).reset(arguments.task, arguments.reason), arguments, out)


def cancel(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).cancel(arguments.task, arguments.reason), arguments, out)


def retry(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).retry(arguments.task, arguments.reason, arguments.to), arguments, out)


def accept(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    accepted = session_of(settings).accept(arguments.task, arguments.attempt, arguments.reason)
    return print_task(accepted, arguments, out)


def note(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    task = session_of(settings).note(arguments.task, arguments.text)
    if arguments.json:
        print_json(out, task)
    else:
        print(f"note added to {task.id}, which is {task.status}", file=out)
    when = "with its next heartbeat or report" if task.status in HELD_STATES else "with the task"
    print(f"Its agent gets the note {when}.", file=err)
    return 0


def print_task(task: Task, arguments: Namespace, out: TextIO) -> int:
    if arguments.json:
        print_json(out, task)
    else:
        print_lines(out, spell(task))
    return 0


def spell(task: Task) -> Iterator[str]:
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
    yield from (f"\n{line}" for line in choices(task))


def choices(task: Task) -> Iterator[str]:
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
