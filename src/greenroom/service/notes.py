"""Adds notes to tasks, and selects the notes that heartbeats deliver to a task's holder."""

from functools import partial

import msgspec

from greenroom.domain.errors import Conflict
from greenroom.domain.event import room_stream
from greenroom.domain.task import HELD_STATES, NOTES_MAX, Note, Task, is_under_way
from greenroom.service.leases import seat_key
from greenroom.service.world import World
from greenroom.store import notes
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import TaskRef


def write(world: World, tx: Transaction, task: Task, author: str, text: str) -> None:
    """Add a note to a task. After the commit, the next heartbeat of the task's holder is answered with it.

    Raises Conflict when the task has its maximum of notes.
    """
    if len(notes.of_task(tx, task.id)) >= NOTES_MAX:
        raise Conflict(
            f"Task {task.id} has {NOTES_MAX} notes already, and no more are kept.",
            "Send it as a message to the room (`greenroom send ROOM`), or leave the reason out.",
        )
    note = Note(attempt=task.attempt if is_under_way(task) else None, by=author, text=text, at=tx.now.instant)
    notes.add(tx, task.id, note)
    data = {"task": task.id, "role": task.target_role, "attempt": note.attempt, "text": text}
    tx.record(room_stream(task.room), "task.noted", author, data)
    if task.status in HELD_STATES and task.claimed_by is not None:
        ref, key = TaskRef(task.id, task.attempt), seat_key(task.room, task.target_role)
        tx.after_commit(partial(world.leases.hold, key, task.claimed_by, ref, for_holder(tx, task)))


def for_holder(reader: Reader, task: Task) -> tuple[str, ...]:
    """The notes for the heartbeats of a task's holder: all since its attempt began, oldest first.

    Earlier notes are in the answer to its claim.
    """
    return tuple(note.text for note in notes.of_task(reader, task.id) if note.attempt == task.attempt)


def carry_over(tx: Transaction, task: str, to: str) -> None:
    """Copy the notes of one task to another one, where they belong to no attempt."""
    for note in notes.of_task(tx, task):
        notes.add(tx, to, msgspec.structs.replace(note, attempt=None))
