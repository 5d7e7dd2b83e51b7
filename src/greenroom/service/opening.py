"""Startup: builds the World of a server from its store.

The memory is rebuilt from the store. Every machine and participant that was present gets a fresh lease, so that none of
them expires because the server was down.
"""

from collections.abc import Sequence

from greenroom.clock import Clock
from greenroom.domain.event import SERVER_STREAM, Event
from greenroom.domain.reliability import Reliability
from greenroom.domain.role import Role
from greenroom.entropy import Entropy
from greenroom.service import attending, attention, cloning, guarding, notes, retention
from greenroom.service.directory import Directory
from greenroom.service.feed import Feed
from greenroom.service.keys import SECRET_BYTES, Keys
from greenroom.service.leases import LeaseTable, MachineLease, seat_key
from greenroom.service.signals import FEED, Signals
from greenroom.service.world import Healer, World
from greenroom.store import keys, log, machines, rooms, sittings, tasks
from greenroom.store.store import Store
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import TaskRef


def open_world(store: Store, clock: Clock, entropy: Entropy, limits: Reliability) -> World:
    """Build the World, restore its memory, start publishing, and record `server.started`.

    Participants that were present get a fresh lease; all others stay absent until they join again, or until a heartbeat
    of their machine names them.
    """
    secret = store.run(lambda tx: keys.settle(tx, "tokens", entropy.token(SECRET_BYTES)))
    now = clock.monotonic()
    world = World(
        clock=clock,
        entropy=entropy,
        limits=limits,
        store=store,
        directory=Directory(),
        leases=LeaseTable(limits.sweep_interval_s, limits.sittings_remembered_max),
        feed=Feed(limits.feed_events_kept, store.read(log.last_pos)),
        signals=Signals(),
        keys=Keys(secret),
        healer=Healer(planned_at=now + limits.sweep_interval_s, promoted_at=now),
    )
    store.read(lambda reader: fill(world, reader))

    def publish(events: Sequence[Event]) -> None:
        world.attendance.notice(events, world.leases.seats, clock.monotonic())
        retention.notice(world, events)
        world.feed.publish(events)
        world.signals.wake(FEED)

    store.follow(publish)
    store.run(announce)
    return world


def announce(tx: Transaction) -> None:
    """Record that the server started."""
    tx.record(SERVER_STREAM, "server.started", "start", {})


def fill(world: World, reader: Reader) -> None:
    """Restore the memory from the store."""
    fill_directory(world, reader)
    attention.remember_silence(world, reader)
    now = world.clock.monotonic()
    holders = {(task.room, task.target_role, task.claimed_by): task for task in tasks.all_held(reader)}
    for sitting in sittings.newest_closed(reader, world.limits.sittings_remembered_max):
        world.leases.close(seat_key(sitting.room, sitting.role), sitting.connection_id)
    for sitting in sittings.all_present(reader):
        key = seat_key(sitting.room, sitting.role)
        length_s = world.lease_length_s(sitting)
        world.leases.grant(key, sitting.connection_id, length_s, sitting.machine, now)
        held = holders.pop((sitting.room, sitting.role, sitting.connection_id), None)
        if held is not None:
            ref = TaskRef(held.id, held.attempt)
            world.leases.hold(key, sitting.connection_id, ref, notes.for_holder(reader, held))
    for task in holders.values():
        world.leases.timers[task.id] = now + world.limits.task_lost_after_s
    for machine in machines.every(reader):
        if machine.daemon_connected and machine.incarnation is not None:
            lease = MachineLease(
                machine.incarnation, world.limits.daemon_heartbeat_ttl_s, now + world.limits.daemon_heartbeat_ttl_s
            )
            lease.wishes_version, lease.beaten_at = machine.wishes_version, now
            lease.seen_at, lease.since = machine.last_seen_at or "", world.now().instant
            world.leases.grant_machine(machine.id, lease)
    guarding.hold_back_again(world, reader)
    attending.remember(world, reader)
    cloning.remember(world, reader)
    retention.remember(world, reader)


def fill_directory(world: World, reader: Reader) -> None:
    """Restore the cache of rooms and roles."""
    roles_of: dict[str, list[Role]] = {}
    for role in rooms.all_roles(reader):
        roles_of.setdefault(role.room, []).append(role)
    after = None
    while page := rooms.page(reader, after, world.limits.page_max):
        for room in page:
            world.directory.put(room, roles_of.get(room.id, []))
        after = page[-1].id
