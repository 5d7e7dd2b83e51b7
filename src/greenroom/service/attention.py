"""Raises, resolves and lists alerts. An alert is raised once, however often its cause is seen.

Also watches for mass silence: an alert when many machines and agents stop sending heartbeats together. It counts the
leases that expired within the longest TTL (`heartbeat_ttl_s`, `daemon_heartbeat_ttl_s`); `domain.silence` has the
thresholds. It cannot distinguish a fault of the server or its network from clients that all failed at once.
"""

from functools import partial

from greenroom.domain import silence
from greenroom.domain.attention import Attention
from greenroom.domain.caller import Caller
from greenroom.domain.event import SERVER_STREAM, room_stream
from greenroom.service import access
from greenroom.service.world import World
from greenroom.store import attentions
from greenroom.store.transaction import Reader, Transaction

MASS_SILENCE = "mass_silence"
SUBJECTS_KEPT = 1000


def list_all(world: World, reader: Reader, caller: Caller) -> list[Attention]:
    """All alerts that are raised now, oldest first. Operators only."""
    access.operator_only(caller)
    return attentions.every(reader)


def raise_it(tx: Transaction, key: str, text: str, room: str | None = None, subjects: tuple[str, ...] = ()) -> None:
    """Raise an alert and record its event, unless an alert with this key is raised already."""
    alert = Attention(key=key, room=room, text=text, subjects=subjects, raised_at=tx.now.instant)
    if attentions.add(tx, alert):
        data = {"key": key, "text": text, "count": len(subjects)}
        tx.record(room_stream(room) if room else SERVER_STREAM, "attention.raised", key, data)


def resolve(tx: Transaction, key: str, cause: str) -> None:
    """Resolve the alert with this key and record its event, if it is raised."""
    alert = attentions.get(tx, key)
    if alert is not None and attentions.remove(tx, key):
        data = {"key": key, "text": alert.text}
        tx.record(room_stream(alert.room) if alert.room else SERVER_STREAM, "attention.resolved", cause, data)


def fell_silent(world: World, sender: str) -> None:
    """Record that the lease of a machine, or of an agent that beats for itself, has just expired."""
    world.healer.silent_since[sender] = world.clock.monotonic()


def is_back(world: World, sender: str) -> None:
    """Record that a machine or agent is back, or is no longer expected."""
    world.healer.silent_since.pop(sender, None)
    world.healer.gone.discard(sender)


def watch_silence(world: World) -> None:
    """Raise the `mass_silence` alert if many leases expired together; resolve it once enough of them are back."""
    healer = world.healer
    if not healer.silent_since and not healer.gone_at_first:
        return
    now = world.clock.monotonic()
    ttl_s = max(world.limits.heartbeat_ttl_s, world.limits.daemon_heartbeat_ttl_s)
    for sender, since in list(healer.silent_since.items()):
        if now - since > ttl_s:
            healer.silent_since.pop(sender, None)
    if healer.gone_at_first:
        if silence.is_over(len(healer.gone), healer.gone_at_first):
            healer.gone_at_first = 0
            world.store.write(partial(resolve, key=MASS_SILENCE, cause="most of them are back"))
    elif silence.is_mass(len(healer.silent_since), world.leases.beating):
        healer.gone = set(healer.silent_since)
        healer.gone_at_first = len(healer.gone)
        total = len(healer.gone) + world.leases.beating
        text = (
            f"{len(healer.gone)} of {total} agents and machines stopped sending heartbeats at the same time. The "
            "cause is probably this server or its network; they reconnect by themselves once it is reachable."
        )
        subjects = tuple(sorted(healer.gone)[:SUBJECTS_KEPT])
        world.store.write(partial(raise_it, key=MASS_SILENCE, text=text, subjects=subjects))


def remember_silence(world: World, reader: Reader) -> None:
    """Restore after a restart which machines and agents a raised `mass_silence` alert still waits for."""
    alert = attentions.get(reader, MASS_SILENCE)
    if alert is not None:
        world.healer.gone = set(alert.subjects)
        world.healer.gone_at_first = len(alert.subjects)
