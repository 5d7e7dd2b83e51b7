"""Facts that daemons report: what happened to processes. Taken once each, in order; must not know processes.

Each is logged. What it changes depends on whose word it is: an attempt is released by whoever ran it, but how a role
rests is said only by its newest sitting, on the machine that is wished for it, under the wish that holds now. A daemon
need not be one of ours: what it leaves out is taken from what is known of the role.
"""

from typing import Final

import msgspec

from greenroom.clock import instant_of, seconds_of
from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.errors import Superseded
from greenroom.domain.event import room_stream
from greenroom.domain.machine import Machine, judge_incarnation
from greenroom.domain.role import BACKING_OFF, PARKED, PAUSED, RUNNING, Role
from greenroom.domain.room import OPEN, Room
from greenroom.domain.sitting import CLOSED, SUPERSEDED, Sitting
from greenroom.domain.task import EXITED, STOPPED, is_held_by
from greenroom.service import access, guarding, resting, seating, working
from greenroom.service.world import World
from greenroom.store import machines, rooms, sittings, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import FactsReply
from greenroom.wire.requests import Fact, PostFacts

RESTS: Final = (PARKED, PAUSED)
"""Kinds of facts that are called as what they make of a role."""


def take(world: World, tx: Transaction, caller: Caller, machine_id: str, request: PostFacts) -> FactsReply:
    """Take a daemon's facts in the order given; those that were taken before change nothing."""
    machine = access.machine(tx, caller, machine_id)
    epoch = machines.incarnation_epoch(tx, machine.id, request.incarnation)
    if judge_incarnation(epoch, machine.incarnation_epoch) == SUPERSEDED:
        raise Superseded(
            f"Machine {machine.name} has a newer incarnation.", "Stop this daemon: another one runs this machine."
        )
    accepted = 0
    for fact in request.facts:
        if machines.take_fact(tx, machine.id, fact.id):
            accepted += take_one(world, tx, caller, machine, fact)
    return FactsReply(status="ok", accepted=accepted)


def take_one(world: World, tx: Transaction, caller: Caller, machine: Machine, fact: Fact) -> bool:
    """Take one fact; False when it is about a role that is not there or not the machine's, and so is of no use."""
    room = rooms.get(tx, fact.room)
    role = rooms.role(tx, room.id, fact.role) if room is not None else None
    if room is None or role is None:
        return False
    known = sittings.get(tx, room.id, role.name, fact.connection_id)
    is_its_own = known is not None and caller.machine is not None and known.machine == caller.machine
    if not is_its_own and not callers.may_sit(
        caller, room.id, role.name, role.machine if role.is_run_by_daemon else None
    ):
        return False
    fact = completed(role, known, fact)
    data = {name: getattr(fact, name) for name in Fact.__struct_fields__ if name not in ("id", "kind", "room")}
    tx.record(room_stream(room.id), f"agent.{fact.kind}", fact.detail or fact.kind, data)
    if fact.kind == "exited":
        guarding.has_stopped(world, tx, room.id, role.name, fact.connection_id, fact.task)
        release_attempt(world, tx, role, fact)
        if not fact.intended:
            end_sitting(world, tx, role, known, EXITED, fact)
        elif not is_wished_here(room, role, machine):
            end_sitting(world, tx, role, known, STOPPED, fact)
    if counts(role, machine, known, fact):
        if fact.kind in RESTS:
            # Nobody is parked without having died, also where that is told only afterwards.
            end_sitting(world, tx, role, known, EXITED if fact.kind == PARKED else STOPPED, fact)
        take_rest(world, tx, room, fact, was_over=known is not None and known.status == CLOSED)
    return True


def completed(role: Role, known: Sitting | None, fact: Fact) -> Fact:
    """The fact with what its daemon left out: a newest sitting of a parked role is the one on trial."""
    on_trial = role.rests_as == PARKED and known is not None and known.status != CLOSED and known.epoch == role.epoch
    trial = on_trial if fact.trial is None else fact.trial
    return msgspec.structs.replace(fact, intended=bool(fact.intended), trial=trial)


def is_wished_here(room: Room, role: Role, machine: Machine) -> bool:
    """Tell whether an agent is to run on that machine: what is not to, has left its seat by its end."""
    wished = room.status == OPEN and role.desired == RUNNING
    return wished and role.is_run_by_daemon and role.machine == machine.id


def counts(role: Role, machine: Machine, known: Sitting | None, fact: Fact) -> bool:
    """Tell whether a fact says how its role rests now. One that is about what was before changes only the log."""
    is_its_own = role.is_run_by_daemon and role.machine == machine.id
    is_newest = known is not None and known.epoch == role.epoch
    return is_its_own and is_newest and fact.generation in (None, role.generation)


def take_rest(world: World, tx: Transaction, room: Room, fact: Fact, was_over: bool) -> None:
    """Note until when, and why, a role's daemon lets its agent rest, or that it does no more.

    `was_over`: its sitting had ended before. An end that is told after the rest it led to, says nothing new.
    """
    role = rooms.role(tx, room.id, fact.role)
    assert role is not None
    until = read_instant(fact.until)
    if fact.kind in RESTS:
        resting.rest(tx, room, role, fact.kind, until, first_line(fact) or role.last_exit or fact.kind)
    elif fact.kind == "exited" and not fact.intended:
        if fact.trial:
            # That one is parked for a person is said by the fact that follows, with the reason.
            resting.rest(tx, room, role, PARKED, until or role.rests_until, describe(fact))
        elif not (was_over and role.rests_as in RESTS):
            at_most = instant_of(seconds_of(tx.now.instant) + world.limits.restart_pause_s_max)
            resting.rest(tx, room, role, BACKING_OFF, until or at_most, describe(fact))
    elif fact.kind == "unparked" and role.rests_as == PARKED:
        resting.end(tx, room, role, "it did its task on trial")


def release_attempt(world: World, tx: Transaction, role: Role, fact: Fact) -> None:
    """Release the attempt whose process ended, if it still holds its task: this is the most trusted word there is."""
    task = tasks.get(tx, fact.task) if fact.task is not None else None
    if task is None or fact.attempt is None or task.room != role.room:
        return
    if is_held_by(task, fact.connection_id, fact.attempt):
        # Whoever is to mend it needs the command's last words, which are in the detail.
        cause = describe(fact) if fact.intended else fact.detail or describe(fact)
        working.release(world, tx, task, STOPPED if fact.intended else EXITED, cause, on_trial=bool(fact.trial))


def end_sitting(world: World, tx: Transaction, role: Role, known: Sitting | None, how: str, fact: Fact) -> None:
    """End the sitting of an agent that died, or that its daemon lets rest."""
    if known is not None and known.status != CLOSED and known.epoch >= role.epoch:
        seating.end(world, tx, known, how, describe(fact), release_as=how, on_trial=bool(fact.trial))


def describe(fact: Fact) -> str:
    """Say in a person's words how a process ended."""
    if fact.kind != "exited":
        return first_line(fact) or fact.kind
    if fact.intended:
        return "stopped as wished" if fact.code != 0 else "ended as expected"
    if fact.signal is not None:
        return f"killed by signal {fact.signal}"
    if fact.code is not None:
        return f"exited with code {fact.code}"
    return first_line(fact) or "ended"


def first_line(fact: Fact) -> str | None:
    """The first line of what a fact tells in words, if it tells anything."""
    return fact.detail.strip().partition("\n")[0] or None if fact.detail else None


def read_instant(text: str | None) -> str | None:
    """An instant in our own spelling; None for what is none, since a daemon's clock only tells, and never decides."""
    if text is None:
        return None
    try:
        return instant_of(seconds_of(text))
    except (ValueError, OverflowError):
        return None
