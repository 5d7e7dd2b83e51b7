"""Cleanup: removing what is silent past its lease, and nothing else. Must not know who calls it or how often.

One round looks at the lease table, and records what it found in one transaction. It runs where beats are answered, so
that a stalled server notices its own absence before it judges anybody; and it takes no longer at a time than a beat
may wait.
"""

from functools import partial

from greenroom.clock import instant_of, seconds_of
from greenroom.domain import sweep
from greenroom.domain.room import OPEN
from greenroom.domain.sitting import PRESENT
from greenroom.domain.task import HELD_STATES
from greenroom.service import attending, attention, cloning, connecting, guarding, retention, seating, working
from greenroom.service.world import World
from greenroom.store import machines, rooms, sittings, tasks
from greenroom.store.transaction import Transaction


def tick(world: World) -> bool:
    """One round: count everything anew after an absence of ours, else record what has run out.

    True when only a part of the round is done, and the rest is to follow as soon as waiting beats are answered.
    """
    now = world.clock.monotonic()
    healer, limits = world.healer, world.limits
    late = sweep.must_extend(healer.planned_at, now, limits)
    healer.planned_at = now + limits.sweep_interval_s
    if late:
        world.leases.extend_all(now, limits.task_lost_after_s)
        world.guards.extend_all(now, limits.takeover_grace_s)
        world.attendance.begin_anew(now)
        cloning.begin_anew(world, now)
        healer.extensions += 1
        return False
    guarding.lift_due(world, now)
    retention.forget_on(world)
    if healer.is_recording:
        return False
    leases = world.leases
    if leases.look(now, limits.sweep_looks_max, limits.sweep_batch_max):
        return True
    due = sweep.Plan(
        participants=tuple(leases.due_seats(now)),
        machines=tuple(leases.due_machines(now)),
        tasks=tuple(leases.due_timers(now)),
        unattended=tuple(world.attendance.overdue(now, limits.task_pending_timeout_s)),
        attended=tuple(world.attendance.attended()),
    )
    plan = sweep.decide(due, limits.sweep_batch_max)
    attention.watch_silence(world)
    cloning.watch(world, now)
    if plan or now >= healer.promoted_at:
        if now >= healer.promoted_at:
            healer.promoted_at = now + limits.heartbeat_interval_s
        healer.is_recording = True
        try:
            world.store.write(partial(cleanup_stale_agents, world, plan)).add_done_callback(partial(recorded, world))
        except BaseException:
            healer.is_recording = False
            raise
    return False


def recorded(world: World, _: object) -> None:
    """Let the next round record again, whatever became of this one."""
    world.healer.is_recording = False


def cleanup_stale_agents(world: World, plan: sweep.Plan, tx: Transaction) -> None:
    """Record what a round found: machines that fell silent with their agents, participants, tasks that are lost."""
    for machine in plan.machines:
        disconnect(world, tx, machine)
    for key in plan.participants:
        expire(world, tx, key)
    for task in plan.tasks:
        give_up_waiting(world, tx, task)
    for key in plan.unattended:
        attending.tell(world, tx, key)
    for key in plan.attended:
        attending.take_back(world, tx, key)
    for room_id in tasks.rooms_with_queue(tx):
        room = rooms.get(tx, room_id)
        if room is not None and room.status == OPEN:
            working.promote(world, tx, room, "a place was free")


def disconnect(world: World, tx: Transaction, machine_id: str) -> None:
    """Record that a machine fell silent: it and its agents go in one transaction."""
    lease = world.leases.mark_machine(machine_id, tx.now.monotonic)
    if lease is None:
        return
    tx.if_abandoned(partial(world.leases.clear, lease))
    machine = machines.get(tx, machine_id)
    if machine is None or not machine.daemon_connected:
        tx.after_commit(partial(world.leases.drop_machine, machine_id))
        return
    silent_s = tx.now.monotonic - lease.beaten_at
    cause = f"no heartbeat of its daemon for {silent_s:.1f} s (limit {lease.length_s:g} s)"
    connecting.disconnect(world, tx, machine, cause, lease.seen_at or machine.last_seen_at)
    tx.after_commit(partial(attention.fell_silent, world, machine.id))
    world.healer.disconnected += 1


def expire(world: World, tx: Transaction, key: str) -> None:
    """Record that a participant fell silent, unless it beat in the meantime."""
    seat = world.leases.mark_seat(key, tx.now.monotonic)
    if seat is None:
        return
    tx.if_abandoned(partial(world.leases.clear, seat))
    room, _, role = key.partition("/")
    sitting = sittings.get(tx, room, role, seat.connection)
    if sitting is None or sitting.status != PRESENT:
        tx.after_commit(partial(world.leases.vacate, key, seat.connection))
        return
    silent_s = tx.now.monotonic - (seat.deadline - seat.length_s)
    by = "no heartbeat" if seat.machine is None else "not named by its machine's daemon"
    seen_at = instant_of(seconds_of(tx.now.instant) - silent_s)
    seating.lapse(world, tx, sitting, f"{by} for {silent_s:.1f} s (limit {seat.length_s:g} s)", seen_at)
    if seat.machine is None:
        tx.after_commit(partial(attention.fell_silent, world, key))
    world.healer.expired += 1


def give_up_waiting(world: World, tx: Transaction, task_id: str) -> None:
    """Release a task whose holder did not come back in time."""
    task = tasks.get(tx, task_id)
    deadline = world.leases.timers.get(task_id)
    if deadline is None or deadline > tx.now.monotonic:
        return
    if task is not None and task.status in HELD_STATES and task.claimed_by is not None:
        holder = sittings.get(tx, task.room, task.target_role, task.claimed_by)
        if holder is None or holder.status != PRESENT:
            working.release_lost(world, tx, task, holder)
            world.healer.released += 1
    tx.after_commit(partial(world.leases.stop_timer, task_id))
