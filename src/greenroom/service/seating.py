"""How a sitting begins, comes back and ends: the moves that joins, beats, facts and the sweep share.

Each move is one transition with its event in the caller's transaction, and its effect on the lease table after the
commit. Must not know requests or who may make them.
"""

from functools import partial

import msgspec

from greenroom.domain import sweep, takeover
from greenroom.domain.event import room_stream
from greenroom.domain.role import Role
from greenroom.domain.sitting import ABSENT, BEAT, CLOSED, PRESENT, SUPERSEDED, Sitting
from greenroom.domain.task import Task
from greenroom.service import attention, guarding, notes, resting, wishing, working
from greenroom.service.leases import seat_key
from greenroom.service.signals import claim_key
from greenroom.service.world import World
from greenroom.store import machines, rooms, sittings
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import TaskRef


def sit_new(world: World, tx: Transaction, role: Role, connection_id: str, machine: str | None, cause: str) -> Sitting:
    """Begin a sitting: take the role's next epoch, and close whoever sat before for ever."""
    older = sittings.newest(tx, role.room, role.name)
    if older is not None and older.status != CLOSED:
        end(world, tx, older, SUPERSEDED, f"{connection_id} joined", release_as=SUPERSEDED)
    made = Sitting(
        room=role.room,
        role=role.name,
        connection_id=connection_id,
        epoch=role.epoch + 1,
        status=PRESENT,
        machine=lasting(tx, machine),
        joined_at=tx.now.instant,
    )
    rested = resting.seated(role, by_daemon=machine is not None)
    current = msgspec.structs.replace(rested, epoch=made.epoch, last_seen_at=tx.now.instant)
    rooms.save_role(tx, role, current)
    sittings.add(tx, made)
    record(tx, "participant.joined", cause, made)
    if role.awaits_person:
        tell_of_rest(tx, current, f"{connection_id} joined")
    after_seated(world, tx, made)
    return made


def sit_again(world: World, tx: Transaction, absent: Sitting, machine: str | None, cause: str) -> Sitting:
    """Bring an absent sitting back to its seat. If its task is not its own any more, it is to beat again."""
    kind = absent.lease if working.held_by(tx, absent) else BEAT
    again = msgspec.structs.replace(absent, status=PRESENT, lease=kind, ended_at=None, end_cause=None)
    present = msgspec.structs.replace(again, machine=lasting(tx, machine))
    sittings.save(tx, absent, present)
    record(tx, "participant.rejoined", cause, present)
    role = rooms.role(tx, absent.room, absent.role)
    if role is not None and role.awaits_person:
        tell_of_rest(tx, role, cause)
    after_seated(world, tx, present)
    return present


def attach(world: World, tx: Transaction, present: Sitting, machine: str) -> Sitting:
    """Let a present sitting last as long as its machine, which is connected, from now on."""
    if present.machine == machine:
        return present
    attached = msgspec.structs.replace(present, machine=machine)
    sittings.save(tx, present, attached)
    after_seated(world, tx, attached)
    return attached


def lasting(tx: Transaction, machine: str | None) -> str | None:
    """The machine, if it is connected, so that its daemon's beats renew the seat and its silence ends it.

    Without one the sitting has a lease of its own, until its machine's next beat names it.
    """
    known = machines.get(tx, machine) if machine is not None else None
    return known.id if known is not None and known.daemon_connected else None


def lapse(world: World, tx: Transaction, present: Sitting, cause: str, seen_at: str) -> None:
    """Remove a participant that was last heard of at `seen_at`. Its role, history and task stay; it may come back."""
    sittings.save(
        tx, present, msgspec.structs.replace(present, status=ABSENT, ended_at=tx.now.instant, end_cause="expired")
    )
    record(tx, "participant.expired", cause, present)
    seen(tx, present, seen_at)
    for task in working.held_by(tx, present):
        tx.after_commit(partial(start_timer, world, task.id))
    after_vacated(world, tx, present)


def end(
    world: World,
    tx: Transaction,
    open_sitting: Sitting,
    end_cause: str,
    cause: str,
    release_as: str,
    on_trial: bool = False,
) -> list[Task]:
    """End a sitting for ever: by a leave, an exit or a newer one. What it held is released at once.

    What a newer one takes over waits until whoever had it is known to have stopped.
    """
    closed = msgspec.structs.replace(open_sitting, status=CLOSED, ended_at=tx.now.instant, end_cause=end_cause)
    sittings.save(tx, open_sitting, closed)
    released = [
        working.release(world, tx, task, release_as, cause, on_trial=on_trial)
        for task in working.held_by(tx, open_sitting)
    ]
    working.close_way_back(tx, open_sitting, release_as)
    if end_cause == SUPERSEDED and takeover.is_needed(open_sitting):
        for task in released:
            guarding.hold_back(world, tx, task, open_sitting)
        if released:
            call_up_daemon(world, tx, open_sitting)  # So it hears of this before the guard is over.
    record(tx, "participant.superseded" if end_cause == SUPERSEDED else "participant.left", cause, open_sitting)
    seen(tx, open_sitting, tx.now.instant)
    key = seat_key(open_sitting.room, open_sitting.role)
    tx.after_commit(partial(world.leases.close, key, open_sitting.connection_id))
    tx.after_commit(partial(attention.is_back, world, key))
    after_vacated(world, tx, open_sitting)
    return released


def call_up(world: World, tx: Transaction, held: Task) -> None:
    """Have the daemon of a task's holder beat at once: there is something that it should hear of."""
    holder = sittings.get(tx, held.room, held.target_role, held.claimed_by) if held.claimed_by is not None else None
    if holder is not None and holder.status == PRESENT:
        call_up_daemon(world, tx, holder)


def call_up_daemon(world: World, tx: Transaction, sitting: Sitting) -> None:
    """Have the daemon of a sitting beat at once.

    A daemon waits for wishes, and beats when there are any. Who beats for itself beats often while it works.
    """
    if sitting.machine is not None:
        wishing.touch(world, tx, sitting.machine)


def rest_lease(world: World, tx: Transaction, room: str, role: str, connection_id: str, kind: str) -> None:
    """Change what a sitting's lease is for, and count it anew: handed over, working, or beating again.

    A lease that is for that already goes on as it is: what a person does to a task is no sign of life of its holder.
    """
    known = sittings.get(tx, room, role, connection_id)
    if known is None or known.status == CLOSED or known.lease == kind:
        return
    changed = msgspec.structs.replace(known, lease=kind)
    sittings.save(tx, known, changed)
    if known.status == PRESENT:
        after_seated(world, tx, changed)


def renew(world: World, tx: Transaction, room: str, role: str, connection_id: str) -> None:
    """Count a lease anew, as a beat would: at once, lest a sweep in the same batch end it, and when this is durable."""
    key = seat_key(room, role)
    beat(world, key, connection_id)
    tx.after_commit(partial(beat, world, key, connection_id))


def beat(world: World, key: str, connection_id: str) -> None:
    world.leases.beat(key, connection_id, world.clock.monotonic())


def after_seated(world: World, tx: Transaction, present: Sitting) -> None:
    """Once this is durable: grant the lease, note the task in hand, and let a standing claim look."""
    key = seat_key(present.room, present.role)
    held = working.held_by(tx, present)
    task = TaskRef(held[0].id, held[0].attempt) if held else None
    told = notes.for_holder(tx, held[0]) if held else ()

    def seat() -> None:
        length_s = world.lease_length_s(present)
        world.leases.grant(key, present.connection_id, length_s, present.machine, world.clock.monotonic())
        world.leases.hold(key, present.connection_id, task, told)
        attention.is_back(world, key)
        if task is not None:
            world.leases.stop_timer(task.id)
        world.signals.wake(claim_key(present.room, present.role))

    tx.after_commit(seat)


def after_vacated(world: World, tx: Transaction, gone: Sitting) -> None:
    """Once this is durable: empty the seat and end the claim that stood in it."""

    def vacate() -> None:
        world.leases.vacate(seat_key(gone.room, gone.role), gone.connection_id)
        world.signals.wake(claim_key(gone.room, gone.role))

    tx.after_commit(vacate)


def start_timer(world: World, task: str) -> None:
    """Give a task whose holder fell silent its time to come back."""
    world.leases.timers[task] = sweep.release_at(world.clock.monotonic(), world.limits)


def seen(tx: Transaction, sitting: Sitting, at: str) -> None:
    """Note on the role until when somebody was there, which is over."""
    role = rooms.role(tx, sitting.room, sitting.role)
    assert role is not None
    rooms.save_role(tx, role, msgspec.structs.replace(role, last_seen_at=at))
    if role.awaits_person:
        tell_of_rest(tx, role, "nobody sits there any more")


def tell_of_rest(tx: Transaction, role: Role, cause: str) -> None:
    """Have people told anew, now that somebody sat down or got up, whether a role whose agent rests needs them."""
    room = rooms.get(tx, role.room)
    assert room is not None
    resting.tell(tx, room, role, cause)


def record(tx: Transaction, type: str, cause: str, sitting: Sitting) -> None:
    """Record what became of a sitting."""
    data = {
        "role": sitting.role,
        "connection_id": sitting.connection_id,
        "epoch": sitting.epoch,
        "machine": sitting.machine,
    }
    tx.record(room_stream(sitting.room), type, cause, data)
