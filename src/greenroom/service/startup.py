"""Startup: builds the World of a server from its store.

The memory is rebuilt from the store. Every machine and participant that was present gets a fresh lease, so that none of
them expires because the server was down.
"""

from collections.abc import Sequence

from greenroom.clock import Clock
from greenroom.domain.event import SERVER_STREAM, Event
from greenroom.domain.limits import Limits
from greenroom.domain.role import Role
from greenroom.entropy import Entropy
from greenroom.service import (
    alerts,
    cloned_machines,
    loop_alerts,
    retention,
    takeovers,
    task_notes,
    unattended_roles,
)
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import LeaseTable, MachineLease, role_key
from greenroom.service.state.notifications import EVENTS_KEY, EventBuffer, Notifications
from greenroom.service.state.room_cache import RoomCache
from greenroom.service.state.sweep_state import SweepState
from greenroom.service.state.tokens import SECRET_BYTES, TokenSigner
from greenroom.store import event_log, machines, participants, rooms, secrets, tasks, token_serials
from greenroom.store.store import Store
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import TaskRef


def start_context(store: Store, clock: Clock, entropy: Entropy, limits: Limits) -> ServiceContext:
    """Build the World, restore its memory, start publishing, and record `server.started`.

    Participants that were present get a fresh lease; all others stay absent until they join again, or until a heartbeat
    of their machine names them.
    """
    secret = store.run(lambda tx: secrets.get_or_create(tx, "tokens", entropy.random_bytes(SECRET_BYTES)))
    now = clock.monotonic()
    context = ServiceContext(
        clock=clock,
        entropy=entropy,
        limits=limits,
        store=store,
        room_cache=RoomCache(),
        leases=LeaseTable(limits.sweep_interval_s, limits.participants_remembered_max),
        event_buffer=EventBuffer(limits.feed_events_kept, store.read(event_log.get_last_pos)),
        notifications=Notifications(),
        tokens=TokenSigner(secret, store.read(token_serials.list_all)),
        sweep=SweepState(next_round_at=now + limits.sweep_interval_s, next_promotion_at=now),
    )
    store.read(lambda reader: restore_state(context, reader))

    def publish(events: Sequence[Event]) -> None:
        context.unattended.apply_events(events, context.leases.participants, clock.monotonic())
        retention.record_long_streams(context, events)
        context.event_buffer.publish(events)
        context.notifications.notify(EVENTS_KEY)

    store.set_publisher(publish)
    store.run(record_start)
    return context


def record_start(tx: Transaction) -> None:
    """Record that the server started."""
    tx.record_event(SERVER_STREAM, "server.started", "start", {})


def restore_state(context: ServiceContext, reader: Reader) -> None:
    """Restore the memory from the store."""
    restore_room_cache(context, reader)
    alerts.restore_mass_silence(context, reader)
    loop_alerts.restore_late_loops(context, reader)
    now = context.clock.monotonic()
    holders = {(task.room, task.target_role, task.claimed_by): task for task in tasks.list_all_held(reader)}
    for participant in participants.list_newest_closed(reader, context.limits.participants_remembered_max):
        context.leases.record_closed(role_key(participant.room, participant.role), participant.connection_id)
    for participant in participants.list_all_present(reader):
        key = role_key(participant.room, participant.role)
        length_s = context.get_lease_length_s(participant)
        context.leases.grant(key, participant.connection_id, length_s, participant.machine, now)
        held = holders.pop((participant.room, participant.role, participant.connection_id), None)
        if held is not None:
            ref = TaskRef(held.id, held.attempt)
            context.leases.set_task(key, participant.connection_id, ref, task_notes.list_for_holder(reader, held))
    for task in holders.values():
        context.leases.start_timer(task.id, now + context.limits.task_lost_after_s)
    for machine in machines.list_all(reader):
        if machine.daemon_connected and machine.incarnation is not None:
            lease = MachineLease(
                machine.incarnation, context.limits.daemon_heartbeat_ttl_s, now + context.limits.daemon_heartbeat_ttl_s
            )
            lease.assignments_version, lease.last_heartbeat_at = machine.assignments_version, now
            lease.seen_at, lease.connected_at = machine.last_seen_at or "", context.now().instant
            context.leases.grant_machine(machine.id, lease)
    takeovers.restore_holds(context, reader)
    unattended_roles.restore_unattended(context, reader)
    cloned_machines.restore_clone_alerts(context, reader)
    retention.restore_long_streams(context, reader)


def restore_room_cache(context: ServiceContext, reader: Reader) -> None:
    """Restore the cache of rooms and roles."""
    roles_of: dict[str, list[Role]] = {}
    for role in rooms.list_all_roles(reader):
        roles_of.setdefault(role.room, []).append(role)
    after = None
    while page := rooms.page(reader, after, context.limits.page_max):
        for room in page:
            context.room_cache.put(room, roles_of.get(room.id, []))
        after = page[-1].id
