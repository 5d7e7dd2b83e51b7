"""Telling people that something needs them, once, and that it no longer does. Must not know why.

Also keeps the one attention that presence itself raises: many parties falling silent together.
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
    """Read what needs a person now, oldest first."""
    access.operator_only(caller)
    return attentions.every(reader)


def raise_it(tx: Transaction, key: str, text: str, room: str | None = None, subjects: tuple[str, ...] = ()) -> None:
    """Raise an attention, unless it is raised already."""
    raised = Attention(key=key, room=room, text=text, subjects=subjects, raised_at=tx.now.instant)
    if attentions.add(tx, raised):
        data = {"key": key, "text": text, "count": len(subjects)}
        tx.record(room_stream(room) if room else SERVER_STREAM, "attention.raised", key, data)


def resolve(tx: Transaction, key: str, cause: str) -> None:
    """Resolve an attention, if it is raised."""
    raised = attentions.get(tx, key)
    if raised is not None and attentions.remove(tx, key):
        data = {"key": key, "text": raised.text}
        tx.record(room_stream(raised.room) if raised.room else SERVER_STREAM, "attention.resolved", cause, data)


def fell_silent(world: World, party: str) -> None:
    """Note that a machine, or an agent that beats for itself, was removed for its silence just now."""
    world.healer.silent_since[party] = world.clock.monotonic()


def is_back(world: World, party: str) -> None:
    """Note that it is back, or that nobody waits for it any more."""
    world.healer.silent_since.pop(party, None)
    world.healer.gone.discard(party)


def watch_silence(world: World) -> None:
    """Look whether many fell silent together, or enough of those are back; record what changed."""
    healer = world.healer
    if not healer.silent_since and not healer.gone_at_first:
        return
    now = world.clock.monotonic()
    ttl_s = max(world.limits.heartbeat_ttl_s, world.limits.daemon_heartbeat_ttl_s)
    for party, since in list(healer.silent_since.items()):
        if now - since > ttl_s:
            healer.silent_since.pop(party, None)
    if healer.gone_at_first:
        if silence.is_over(len(healer.gone), healer.gone_at_first):
            healer.gone_at_first = 0
            world.store.write(partial(resolve, key=MASS_SILENCE, cause="most of them are back"))
    elif silence.is_mass(len(healer.silent_since), world.leases.beating):
        healer.gone = set(healer.silent_since)
        healer.gone_at_first = len(healer.gone)
        everybody = len(healer.gone) + world.leases.beating
        text = (
            f"{len(healer.gone)} of {everybody} agents and machines fell silent together. It is probably this server "
            "or its network, and not they; they come back by themselves once they can be heard."
        )
        subjects = tuple(sorted(healer.gone)[:SUBJECTS_KEPT])
        world.store.write(partial(raise_it, key=MASS_SILENCE, text=text, subjects=subjects))


def remember_silence(world: World, reader: Reader) -> None:
    """Take up again, after a restart, who is waited for."""
    raised = attentions.get(reader, MASS_SILENCE)
    if raised is not None:
        world.healer.gone = set(raised.subjects)
        world.healer.gone_at_first = len(raised.subjects)
