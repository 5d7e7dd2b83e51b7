"""The sweep: expires leases without heartbeats, releases lost tasks, and keeps alerts and retention up to date.

One round checks the lease table, and records what it found in one transaction. It runs in the event loop that answers
heartbeats, so that a stalled server notices its own absence before it expires any lease. A round is done in parts, so
that no heartbeat waits long for it. The sweep only records: it stops and starts no agent.

Options: `sweep_interval_s`, `sweep_looks_max` (leases checked in one part), `sweep_batch_max` (changes in one
transaction), `task_lost_after_s`, `task_pending_timeout_s`.
Metrics: `greenroom_sweep_extensions`, `greenroom_expired`, `greenroom_disconnected`, `greenroom_released`.
Limits: it cannot distinguish a stopped agent from one behind a broken network, so it only marks it absent. A round that
comes more than a tenth of a lease late extends every lease instead of ending any.
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
    """Run one round or the next part of one: extend all leases after an absence of the server, else record what ended.

    True when only a part of the round is done: call it again as soon as the waiting heartbeats are answered.
    """
    now = world.clock.monotonic()
    healer, limits = world.healer, world.limits
    was_absent = sweep.must_extend(healer.planned_at, now, limits)
    healer.planned_at = now + limits.sweep_interval_s
    if was_absent:
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
    """Allow the next round to record, whether or not the transaction of this one was committed."""
    world.healer.is_recording = False


def cleanup_stale_agents(world: World, plan: sweep.Plan, tx: Transaction) -> None:
    """Record what a round found: machines and participants without heartbeats, lost tasks, unattended roles.

    Also promotes queued tasks where a room has free places.
    """
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
            working.promote(world, tx, room, "the room had a free place")


def disconnect(world: World, tx: Transaction, machine_id: str) -> None:
    """Disconnect a machine whose lease expired, and expire its participants, in one transaction."""
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
    """Expire a participant whose lease ended, unless it was renewed in the meantime."""
    lease = world.leases.mark_seat(key, tx.now.monotonic)
    if lease is None:
        return
    tx.if_abandoned(partial(world.leases.clear, lease))
    room, _, role = key.partition("/")
    sitting = sittings.get(tx, room, role, lease.connection)
    if sitting is None or sitting.status != PRESENT:
        tx.after_commit(partial(world.leases.vacate, key, lease.connection))
        return
    silent_s = tx.now.monotonic - (lease.deadline - lease.length_s)
    reason = "no heartbeat" if lease.machine is None else "not named by its machine's daemon"
    seen_at = instant_of(seconds_of(tx.now.instant) - silent_s)
    seating.lapse(world, tx, sitting, f"{reason} for {silent_s:.1f} s (limit {lease.length_s:g} s)", seen_at)
    if lease.machine is None:
        tx.after_commit(partial(attention.fell_silent, world, key))
    world.healer.expired += 1


def give_up_waiting(world: World, tx: Transaction, task_id: str) -> None:
    """Release a task whose holder did not return before its release timer ran out."""
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
