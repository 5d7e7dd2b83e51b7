"""`greenroom task ...`. Must not know which moves a task allows."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

import msgspec

from greenroom.cli.board import tasks_table
from greenroom.cli.connection import all_of, session_of
from greenroom.cli.output import print_json, print_lines
from greenroom.cli.table import print_table
from greenroom.domain.task import Task
from greenroom.settings.resolve import Settings

TEXTS = ("text", "result", "late_results")


def list_all(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = session_of(settings)
    tasks = all_of(lambda after: session.tasks(arguments.room, arguments.status, after, settings.limits.page_max))
    if arguments.json:
        print_json(out, tasks)
    elif tasks:
        print_table(out, tasks_table("", tasks))
    else:
        print(f"There is no such task. Give the room one: greenroom send {arguments.room} TEXT", file=err)
    return 0


def show(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).task(arguments.task), arguments, out)


def reset(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).reset(arguments.task, arguments.reason), arguments, out)


def cancel(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).cancel(arguments.task, arguments.reason), arguments, out)


def retry(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    return print_task(session_of(settings).retry(arguments.task, arguments.reason), arguments, out)


def print_task(task: Task, arguments: Namespace, out: TextIO) -> int:
    if arguments.json:
        print_json(out, task)
    else:
        print_lines(out, spell(task))
    return 0


def spell(task: Task) -> Iterator[str]:
    """A task whole: its fields that say something, then its texts."""
    for name, value in msgspec.structs.asdict(task).items():
        if name not in TEXTS and value not in (None, ""):
            yield f"{name + ':':18}{value}"
    yield f"\ntext:\n{task.text}"
    if task.result is not None:
        yield f"\nresult:\n{task.result}"
    for late in task.late_results:
        yield f"\nlate result of attempt {late.attempt}, to {late.to}, at {late.at}:\n{late.text}"
