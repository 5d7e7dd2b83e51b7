"""Accepts the reports of daemons on their processes, once each and in order, and applies them.

Every report becomes an event. Its other effects depend on its source. An `exited` releases the attempt that it names,
if its participant still holds the task. The restart hold of a role changes only by a report on the role's newest
participant, from the machine that the role is assigned to, under the current generation. Other implementations of a
daemon may leave fields out: those are filled in from the state of the role.
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
"""The kinds of reports that are named like the restart hold which they set."""


def take(world: World, tx: Transaction, caller: Caller, machine_id: str, request: PostFacts) -> FactsReply:
    """Accept a daemon's reports in the order given. Reports that were accepted before change nothing.

    Raises Superseded for an older incarnation.
    """
    machine = access.machine(tx, caller, machine_id)
    epoch = machines.incarnation_epoch(tx, machine.id, request.incarnation)
    if judge_incarnation(epoch, machine.incarnation_epoch) == SUPERSEDED:
        raise Superseded(
            f"Machine {machine.name} has a newer incarnation.", "Stop this daemon: a newer one runs this machine."
        )
    accepted = 0
    for fact in request.facts:
        if machines.take_fact(tx, machine.id, fact.id):
            accepted += take_one(world, tx, caller, machine, fact)
    return FactsReply(status="ok", accepted=accepted)


def take_one(world: World, tx: Transaction, caller: Caller, machine: Machine, fact: Fact) -> bool:
    """Accept one report; False when its role does not exist or is not the machine's: such a report is dropped."""
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
            # A role crash-loops only after a failure: this report counts as one, unless an `exited` came before it.
            end_sitting(world, tx, role, known, EXITED if fact.kind == PARKED else STOPPED, fact)
        take_rest(world, tx, room, fact, was_over=known is not None and known.status == CLOSED)
    return True


def completed(role: Role, known: Sitting | None, fact: Fact) -> Fact:
    """The report with defaults for absent fields: the newest participant of a crash-looping role is its probe run."""
    on_trial = role.rests_as == PARKED and known is not None and known.status != CLOSED and known.epoch == role.epoch
    trial = on_trial if fact.trial is None else fact.trial
    return msgspec.structs.replace(fact, intended=bool(fact.intended), trial=trial)


def is_wished_here(room: Room, role: Role, machine: Machine) -> bool:
    """Whether the role's agent should run on that machine. If not, even an intended exit ends its participant."""
    wished = room.status == OPEN and role.desired == RUNNING
    return wished and role.is_run_by_daemon and role.machine == machine.id


def counts(role: Role, machine: Machine, known: Sitting | None, fact: Fact) -> bool:
    """Whether a report may change the restart hold of its role. One about an earlier state becomes only an event."""
    is_its_own = role.is_run_by_daemon and role.machine == machine.id
    is_newest = known is not None and known.epoch == role.epoch
    return is_its_own and is_newest and fact.generation in (None, role.generation)


def take_rest(world: World, tx: Transaction, room: Room, fact: Fact, was_over: bool) -> None:
    """Set or clear the restart hold of a role.

    `was_over`: the participant had ended before this report. Then an `exited` does not replace the `parked` or
    `paused` hold that it led to.
    """
    role = rooms.role(tx, room.id, fact.role)
    assert role is not None
    until = read_instant(fact.until)
    if fact.kind in RESTS:
        resting.rest(tx, room, role, fact.kind, until, first_line(fact) or role.last_exit or fact.kind)
    elif fact.kind == "exited" and not fact.intended:
        if fact.trial:
            # The `parked` report that follows has the reason for which the role waits for a user.
            resting.rest(tx, room, role, PARKED, until or role.rests_until, describe(fact))
        elif not (was_over and role.rests_as in RESTS):
            at_most = instant_of(seconds_of(tx.now.instant) + world.limits.restart_pause_s_max)
            resting.rest(tx, room, role, BACKING_OFF, until or at_most, describe(fact))
    elif fact.kind == "unparked" and role.rests_as == PARKED:
        resting.end(tx, room, role, "the probe run succeeded")


def release_attempt(world: World, tx: Transaction, role: Role, fact: Fact) -> None:
    """Release the attempt whose process exited, if it still holds its task. No other sign of an end is as certain."""
    task = tasks.get(tx, fact.task) if fact.task is not None else None
    if task is None or fact.attempt is None or task.room != role.room:
        return
    if is_held_by(task, fact.connection_id, fact.attempt):
        # To find the fault a user needs the command's last output, which is in the detail.
        cause = describe(fact) if fact.intended else fact.detail or describe(fact)
        working.release(world, tx, task, STOPPED if fact.intended else EXITED, cause, on_trial=bool(fact.trial))


def end_sitting(world: World, tx: Transaction, role: Role, known: Sitting | None, how: str, fact: Fact) -> None:
    """End the participant of an agent that failed, or whose daemon holds its restart."""
    if known is not None and known.status != CLOSED and known.epoch >= role.epoch:
        seating.end(world, tx, known, how, describe(fact), release_as=how, on_trial=bool(fact.trial))


def describe(fact: Fact) -> str:
    """How a process ended, as a text for users."""
    if fact.kind != "exited":
        return first_line(fact) or fact.kind
    if fact.intended:
        return "stopped as requested" if fact.code != 0 else "exited as expected"
    if fact.signal is not None:
        return f"killed by signal {fact.signal}"
    if fact.code is not None:
        return f"exited with code {fact.code}"
    return first_line(fact) or "exited"


def first_line(fact: Fact) -> str | None:
    """The first line of a report's detail; None if there is none."""
    return fact.detail.strip().partition("\n")[0] or None if fact.detail else None


def read_instant(text: str | None) -> str | None:
    """An instant in the server's format; None if it is invalid: a daemon's clock is shown and decides nothing."""
    if text is None:
        return None
    try:
        return instant_of(seconds_of(text))
    except (ValueError, OverflowError):
        return None
