"""How a role's agent rests, by its daemon's word, and whether that needs a person. Must not know processes.

A role that is parked or paused with no end is not run before somebody does something: people are told of it, until the
wish changes, somebody sits there, or role or room are gone.
"""

from typing import Final

import msgspec

from greenroom.domain.role import PARKED, PAUSED, RUNNING, Role
from greenroom.domain.room import OPEN, Room
from greenroom.domain.status import advice
from greenroom.domain.task import Task
from greenroom.service import attention
from greenroom.service.leases import seat_key
from greenroom.store import rooms, sittings
from greenroom.store.transaction import Transaction

NO_REST: Final[dict[str, str | None]] = {"rests_as": None, "rests_until": None, "last_exit": None}


def rest(tx: Transaction, room: Room, role: Role, rests_as: str, until: str | None, why: str) -> None:
    """Let a role's agent rest until an instant; with none, one that is parked or paused waits for a person."""
    save(tx, room, role, {"rests_as": rests_as, "rests_until": until, "last_exit": why}, why)


def end(tx: Transaction, room: Room, role: Role, cause: str) -> None:
    """Let it rest no more."""
    save(tx, room, role, NO_REST, cause)


def succeeded(tx: Transaction, room: Room, held: Task) -> None:
    """A task is done: if whoever holds it is run by a daemon on trial, that is passed."""
    role = rooms.role(tx, held.room, held.target_role)
    if role is None or role.rests_as != PARKED or held.claimed_by is None:
        return
    holder = sittings.get(tx, held.room, held.target_role, held.claimed_by)
    if holder is not None and holder.machine is not None:
        end(tx, room, role, "it did its task on trial")


def save(tx: Transaction, room: Room, role: Role, rests: dict[str, str | None], cause: str) -> None:
    changed = msgspec.structs.replace(role, **rests)
    if changed != role:
        rooms.save_role(tx, role, changed)
    if role.awaits_person or changed.awaits_person:
        tell(tx, room, changed, cause)


def seated(role: Role, by_daemon: bool) -> Role:
    """The role once somebody has sat down in it. Its daemon does so when the rest is over, and it is forgotten then.

    Only of one that was parked is it still known: it is run on trial. A person's sitting ends no rest.
    """
    on_trial = role.rests_as == PARKED
    return msgspec.structs.replace(role, **NO_REST) if by_daemon and not on_trial else role


def tell(tx: Transaction, room: Room, role: Role, cause: str) -> None:
    """Have people told that a role's agent needs them, if it is so; else have that taken back, with its cause."""
    is_wished = room.status == OPEN and role.removed_at is None and role.is_run_by_daemon and role.desired == RUNNING
    needs = is_wished and role.awaits_person and sittings.present(tx, room.id, role.name) is None
    for rests_as in (PARKED, PAUSED):
        key = f"{rests_as}:{seat_key(room.id, role.name)}"
        if needs and role.rests_as == rests_as:
            seat = f"{room.name}/{role.name}"
            attention.raise_it(tx, key, f"{seat} is {rests_as}: {advice(role, seat)}.", room.id)
        else:
            attention.resolve(tx, key, cause)
