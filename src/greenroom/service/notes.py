"""Notes that people write for whoever works on a task, and who is told which. Must not know requests or moves."""

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


def write(world: World, tx: Transaction, task: Task, by: str, text: str) -> None:
    """Write a note on a task. Once this is durable, the next beat of the task's holder is answered with it."""
    if len(notes.of_task(tx, task.id)) >= NOTES_MAX:
        raise Conflict(
            f"Task {task.id} has {NOTES_MAX} notes already, and no more are kept.",
            "Say it in a message to the room, or without a reason, and put longer matters into a file.",
        )
    note = Note(attempt=task.attempt if is_under_way(task) else None, by=by, text=text, at=tx.now.instant)
    notes.add(tx, task.id, note)
    data = {"task": task.id, "role": task.target_role, "attempt": note.attempt, "text": text}
    tx.record(room_stream(task.room), "task.noted", by, data)
    if task.status in HELD_STATES and task.claimed_by is not None:
        ref, key = TaskRef(task.id, task.attempt), seat_key(task.room, task.target_role)
        tx.after_commit(partial(world.leases.hold, key, task.claimed_by, ref, for_holder(tx, task)))


def for_holder(reader: Reader, task: Task) -> tuple[str, ...]:
    """What the beats of a task's holder are answered: every note since its attempt began, oldest first.

    What was written before that, the answer to its claim had.
    """
    return tuple(note.text for note in notes.of_task(reader, task.id) if note.attempt == task.attempt)


def carry_over(tx: Transaction, task: str, to: str) -> None:
    """Write the notes on one task on another as well: they are of none of its attempts."""
    for note in notes.of_task(tx, task):
        notes.add(tx, to, msgspec.structs.replace(note, attempt=None))
