"""How a task changes hands: opened, promoted, released, resumed and ended, with everything that follows from each.

The moves that several use cases share. Each goes by the table, is saved against the state it came from and records its
event in the caller's transaction. Must not know requests or who may make them.
"""

from functools import partial

import msgspec

from greenroom.domain import occupancy
from greenroom.domain.event import room_stream
from greenroom.domain.room import Room
from greenroom.domain.sitting import Sitting
from greenroom.domain.task import (
    LOST,
    PENDING,
    QUARANTINED,
    LateResult,
    Task,
    decide_release,
    move,
    resumed_state,
)
from greenroom.service.leases import seat_key
from greenroom.service.signals import claim_key
from greenroom.service.world import World
from greenroom.store import machines, rooms, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import TaskRef

LATE_RESULTS_MAX = 20


def held_by(reader: Reader, sitting: Sitting) -> list[Task]:
    """What a sitting holds: one task or none."""
    held = tasks.held_by(reader, sitting.room, sitting.role, sitting.connection_id)
    return [held] if held is not None else []


def open_task(world: World, tx: Transaction, room: Room, role: str, text: str, cause: str, after: Task | None) -> Task:
    """Open a task for a role: of a new request, or the next of the request that `after` belongs to."""
    made = world.new_id("task")
    if after is None:
        status = occupancy.opening_state(tasks.occupying(tx, room.id), room.max_requests)
        handoffs, reason = 0, None
    else:
        handoffs = after.handoffs + 1
        circles = handoffs > world.limits.max_handoffs
        status = QUARANTINED if circles else PENDING
        reason = f"going in circles: {handoffs} hand-offs in one request" if circles else None
    task = Task(
        id=made,
        room=room.id,
        request=made if after is None else after.request,
        target_role=role,
        status=status,
        text=text,
        created_at=tx.now.instant,
        handoffs=handoffs,
        reason=reason,
    )
    tasks.add(tx, task)
    record(tx, "task.opened", cause, task)
    if status == QUARANTINED:
        record(tx, "task.quarantined", reason or "", task)
    if status == PENDING:
        wake_role(world, tx, task)
    return task


def promote(world: World, tx: Transaction, room: Room, cause: str) -> list[Task]:
    """Let queued requests begin, as far as the room has places for them."""
    promoted: list[Task] = []
    for _ in range(occupancy.free_places(tasks.occupying(tx, room.id), room.max_requests)):
        queued = tasks.oldest_queued(tx, room.id)
        if queued is None:
            break
        pending = msgspec.structs.replace(queued, status=move(queued.status, "promote"))
        tasks.save(tx, queued, pending)
        record(tx, "task.promoted", cause, pending)
        wake_role(world, tx, pending)
        promoted.append(pending)
    return promoted


def release(
    world: World, tx: Transaction, held: Task, release_as: str, cause: str, machine_connected: bool = False
) -> Task:
    """Give a held task back to its role: to whoever sits there next, or to nobody after too many deaths."""
    assert held.claimed_by is not None
    status, deaths = decide_release(held, release_as, machine_connected, world.limits.task_deaths_max)
    after = msgspec.structs.replace(held, status=status, deaths=deaths, claimed_by=None, released_cause=release_as)
    if status == QUARANTINED:
        after = msgspec.structs.replace(after, reason=f"{deaths} attempts died: {cause}")
    tasks.save(tx, held, after)
    record(tx, "task.quarantined" if status == QUARANTINED else "task.released", cause, after)
    let_go(world, tx, held)
    if status == PENDING:
        wake_role(world, tx, after)
    else:
        promote_in(world, tx, held.room, cause)
    return after


def resume(world: World, tx: Transaction, lost: Task, cause: str) -> Task:
    """Give a task that silence released back to the sitting that held it, under the same attempt."""
    state = move(lost.status, "resume", resumed_state(lost))
    resumed = msgspec.structs.replace(lost, status=state, claimed_by=lost.last_holder, released_cause=None)
    tasks.save(tx, lost, resumed)
    record(tx, "task.resumed", cause, resumed)
    take_in_hand(world, tx, resumed)
    return resumed


def keep_late(tx: Transaction, task: Task, attempt: int, connection_id: str, to: str, text: str) -> None:
    """Keep a result that came too late; the same one sent again is kept once."""
    known = tasks.late_of(tx, task.id)
    if len(known) >= LATE_RESULTS_MAX or any(
        (each.attempt, each.connection_id, each.to, each.text) == (attempt, connection_id, to, text) for each in known
    ):
        return
    late = LateResult(attempt=attempt, connection_id=connection_id, to=to, text=text, at=tx.now.instant)
    tasks.add_late(tx, task.id, late)
    data = {"task": task.id, "role": task.target_role, "attempt": attempt, "connection_id": connection_id, "to": to}
    tx.record(room_stream(task.room), "task.late_result", "a result of an attempt that no longer counts", data)


def take_in_hand(world: World, tx: Transaction, held: Task) -> None:
    """Once this is durable: the holder's beats name the task, and no timer runs against it."""
    assert held.claimed_by is not None
    ref = TaskRef(held.id, held.attempt)
    tx.after_commit(partial(world.leases.hold, seat_key(held.room, held.target_role), held.claimed_by, ref))
    tx.after_commit(partial(world.leases.stop_timer, held.id))


def let_go(world: World, tx: Transaction, held: Task) -> None:
    """Once this is durable: the holder's beats no longer name the task, and no timer runs against it."""
    assert held.claimed_by is not None
    tx.after_commit(partial(world.leases.hold, seat_key(held.room, held.target_role), held.claimed_by, None))
    tx.after_commit(partial(world.leases.stop_timer, held.id))


def wake_role(world: World, tx: Transaction, task: Task) -> None:
    """Once this is durable: whoever waits in the task's role looks for it."""
    tx.after_commit(partial(world.signals.wake, claim_key(task.room, task.target_role)))


def promote_in(world: World, tx: Transaction, room_id: str, cause: str) -> list[Task]:
    """Promote in a room known by its id."""
    room = rooms.get(tx, room_id)
    assert room is not None
    return promote(world, tx, room, cause)


def release_lost(world: World, tx: Transaction, task: Task) -> None:
    """Release a task whose holder stayed silent. It is a death only if the holder's machine was there all along."""
    role = rooms.role(tx, task.room, task.target_role)
    machine = machines.get(tx, role.machine) if role is not None and role.machine is not None else None
    silent = f"its holder has been silent for {world.limits.task_lost_after_s:g} s after its lease"
    release(world, tx, task, LOST, silent, machine_connected=machine is not None and machine.daemon_connected)


def record(tx: Transaction, type: str, cause: str, task: Task) -> None:
    """Record what became of a task."""
    data = {
        "task": task.id,
        "request": task.request,
        "role": task.target_role,
        "status": task.status,
        "attempt": task.attempt,
        "connection_id": task.claimed_by or task.last_holder,
        "deaths": task.deaths,
    }
    tx.record(room_stream(task.room), type, cause, data)
