"""The sweep: expires leases without heartbeats, releases lost tasks, and keeps alerts and retention up to date.

One round checks the lease table, and records what it found in one transaction. It runs in the event loop that answers
heartbeats, so that a stalled server notices its own absence before it expires any lease. A round is done in parts, so
that no heartbeat waits long for it. The sweep only records: it stops and starts no agent.

Options: `sweep_interval_s`, `sweep_looks_max` (leases checked in one part), `sweep_batch_max` (changes in one
transaction), `task_lost_after_s`, `task_pending_timeout_s`.
Metrics: `greenroom_sweep_extensions_total`, `greenroom_expired_total`, `greenroom_disconnected_total`,
`greenroom_released_total`.
Limits: it cannot distinguish a stopped agent from one behind a broken network, so it only marks it absent. A round that
comes more than a tenth of a lease late extends every lease instead of ending any.
"""

from functools import partial

from greenroom.clock import format_instant, parse_instant
from greenroom.domain import sweep_policy
from greenroom.domain.participant import PRESENT
from greenroom.domain.room import OPEN
from greenroom.domain.task import HELD_STATES
from greenroom.service import (
    alerts,
    cloned_machines,
    machine_heartbeats,
    participant_transitions,
    retention,
    takeovers,
    task_transitions,
    unattended_roles,
)
from greenroom.service.context import ServiceContext
from greenroom.store import machines, participants, rooms, tasks
from greenroom.store.transaction import Transaction


def tick(context: ServiceContext) -> bool:
    """Run one round or the next part of one: extend all leases after an absence of the server, else record what ended.

    True when only a part of the round is done: call it again as soon as the waiting heartbeats are answered.
    """
    now = context.clock.monotonic()
    state, limits = context.sweep, context.limits
    was_absent = sweep_policy.must_extend_leases(state.next_round_at, now, limits)
    state.next_round_at = now + limits.sweep_interval_s
    if was_absent:
        context.leases.extend_all(now, limits.task_lost_after_s)
        context.takeover_holds.extend_all(now, limits.takeover_grace_s)
        context.unattended.restart_waits(now)
        context.cloned_machines.restart_waits(now)
        state.extensions += 1
        return False
    takeovers.release_due(context, now)
    retention.continue_round(context)
    if state.is_recording:
        return False
    leases = context.leases
    if leases.check_leases(now, limits.sweep_looks_max, limits.sweep_batch_max):
        return True
    due = sweep_policy.SweepBatch(
        participants=tuple(leases.take_due_participants(now)),
        machines=tuple(leases.due_machines(now)),
        tasks=tuple(leases.due_timers(now)),
        unattended=tuple(context.unattended.list_overdue(now, limits.task_pending_timeout_s)),
        covered=tuple(context.unattended.list_changed()),
    )
    plan = sweep_policy.select_batch(due, limits.sweep_batch_max)
    alerts.watch_mass_silence(context)
    cloned_machines.resolve_overdue_clone_alerts(context, now)
    if plan or now >= state.next_promotion_at:
        if now >= state.next_promotion_at:
            state.next_promotion_at = now + limits.heartbeat_interval_s
        state.is_recording = True
        try:
            context.store.write(partial(cleanup_stale_agents, context, plan)).add_done_callback(
                partial(on_recorded, context)
            )
        except BaseException:
            state.is_recording = False
            raise
    return False


def on_recorded(context: ServiceContext, _: object) -> None:
    """Allow the next round to record, whether or not the transaction of this one was committed."""
    context.sweep.is_recording = False


def cleanup_stale_agents(context: ServiceContext, plan: sweep_policy.SweepBatch, tx: Transaction) -> None:
    """Record what a round found: machines and participants without heartbeats, lost tasks, unattended roles.

    Also promotes queued tasks where a room has free places.
    """
    for machine in plan.machines:
        expire_machine(context, tx, machine)
    for key in plan.participants:
        expire_participant_lease(context, tx, key)
    for task in plan.tasks:
        release_lost_task(context, tx, task)
    for key in plan.unattended:
        unattended_roles.raise_unattended_alert(context, tx, key)
    for key in plan.covered:
        unattended_roles.update_unattended_alert(context, tx, key)
    unattended_roles.resolve_machine_alerts(tx)
    for room_id in tasks.list_rooms_with_queued_tasks(tx):
        room = rooms.get(tx, room_id)
        if room is not None and room.status == OPEN:
            task_transitions.promote(context, tx, room, "the room had a free place")


def expire_machine(context: ServiceContext, tx: Transaction, machine_id: str) -> None:
    """Disconnect a machine whose lease expired, and expire its participants, in one transaction."""
    lease = context.leases.mark_machine(machine_id, tx.now.monotonic)
    if lease is None:
        return
    tx.on_rollback(partial(context.leases.unmark, lease))
    machine = machines.get(tx, machine_id)
    if machine is None or not machine.daemon_connected:
        tx.on_commit(partial(context.leases.drop_machine, machine_id))
        return
    silent_s = tx.now.monotonic - lease.last_heartbeat_at
    cause = f"no heartbeat of its daemon for {silent_s:.1f} s (limit {lease.length_s:g} s)"
    machine_heartbeats.disconnect_machine(context, tx, machine, cause, lease.seen_at or machine.last_seen_at)
    tx.on_commit(partial(alerts.record_silence, context, machine.id))
    tx.on_commit(context.sweep_counters.count_disconnected)


def expire_participant_lease(context: ServiceContext, tx: Transaction, key: str) -> None:
    """Expire a participant whose lease ended, unless it was renewed in the meantime."""
    lease = context.leases.mark_participant(key, tx.now.monotonic)
    if lease is None:
        return
    tx.on_rollback(partial(context.leases.unmark, lease))
    room, _, role = key.partition("/")
    participant = participants.get(tx, room, role, lease.connection)
    if participant is None or participant.status != PRESENT:
        tx.on_commit(partial(context.leases.revoke, key, lease.connection))
        return
    silent_s = tx.now.monotonic - (lease.deadline - lease.length_s)
    reason = "no heartbeat" if lease.machine is None else "not named by its machine's daemon"
    seen_at = format_instant(parse_instant(tx.now.instant) - silent_s)
    participant_transitions.expire_participant(
        context, tx, participant, f"{reason} for {silent_s:.1f} s (limit {lease.length_s:g} s)", seen_at
    )
    if lease.machine is None and not lease.may_be_silent:
        tx.on_commit(partial(alerts.record_silence, context, key))
    tx.on_commit(context.sweep_counters.count_expired)


def release_lost_task(context: ServiceContext, tx: Transaction, task_id: str) -> None:
    """Release a task whose holder did not return before its release timer ran out."""
    task = tasks.get(tx, task_id)
    deadline = context.leases.timers.get(task_id)
    if deadline is None or deadline > tx.now.monotonic:
        return
    if task is not None and task.status in HELD_STATES and task.claimed_by is not None:
        holder = participants.get(tx, task.room, task.target_role, task.claimed_by)
        if holder is None or holder.status != PRESENT:
            task_transitions.release_lost(context, tx, task, holder)
            tx.on_commit(context.sweep_counters.count_released)
    tx.on_commit(partial(context.leases.stop_timer, task_id))
