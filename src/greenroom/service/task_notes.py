"""Adds notes to tasks, and selects the notes that heartbeats deliver to a task's holder."""

from functools import partial

import msgspec

from greenroom.domain.errors import Conflict
from greenroom.domain.event import room_stream
from greenroom.domain.task import HELD_STATES, NOTES_MAX, Note, Task, is_active
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.store import task_attempts
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import TaskRef


def add_note(context: ServiceContext, tx: Transaction, task: Task, author: str, text: str) -> None:
    """Add a note to a task. After the commit, the next heartbeat of the task's holder is answered with it.

    Raises Conflict when the task has its maximum of notes.
    """
    if len(task_attempts.list_notes(tx, task.id)) >= NOTES_MAX:
        raise Conflict(
            f"Task {task.id} has {NOTES_MAX} notes already, and no more are kept.",
            "Send it as a message to the room (`greenroom send ROOM`), or leave the reason out.",
        )
    note = Note(attempt=task.attempt if is_active(task) else None, by=author, text=text, at=tx.now.instant)
    task_attempts.add_note(tx, task.id, note)
    data = {"task": task.id, "role": task.target_role, "attempt": note.attempt, "text": text}
    tx.record_event(room_stream(task.room), "task.noted", author, data)
    if task.status in HELD_STATES and task.claimed_by is not None:
        ref, key = TaskRef(task.id, task.attempt), role_key(task.room, task.target_role)
        tx.on_commit(partial(context.leases.set_task, key, task.claimed_by, ref, list_for_holder(tx, task)))


def list_for_holder(reader: Reader, task: Task) -> tuple[str, ...]:
    """The notes for the heartbeats of a task's holder: all since its attempt began, oldest first.

    Earlier notes are in the answer to its claim.
    """
    return tuple(note.text for note in task_attempts.list_notes(reader, task.id) if note.attempt == task.attempt)


def copy_notes(tx: Transaction, task: str, to: str) -> None:
    """Copy the notes of one task to another one, where they belong to no attempt."""
    for note in task_attempts.list_notes(tx, task):
        task_attempts.add_note(tx, to, msgspec.structs.replace(note, attempt=None))
