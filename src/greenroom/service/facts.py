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
    for report in request.facts:
        if machines.take_fact(tx, machine.id, report.id):
            accepted += take_one(world, tx, caller, machine, report)
    return FactsReply(status="ok", accepted=accepted)


def take_one(world: World, tx: Transaction, caller: Caller, machine: Machine, report: Fact) -> bool:
    """Accept one report; False when its role does not exist or is not the machine's: such a report is dropped."""
    room = rooms.get(tx, report.room)
    role = rooms.role(tx, room.id, report.role) if room is not None else None
    if room is None or role is None:
        return False
    participant = sittings.get(tx, room.id, role.name, report.connection_id)
    is_own = participant is not None and caller.machine is not None and participant.machine == caller.machine
    if not is_own and not callers.may_sit(caller, room.id, role.name, role.machine if role.is_run_by_daemon else None):
        return False
    report = completed(role, participant, report)
    data = {name: getattr(report, name) for name in Fact.__struct_fields__ if name not in ("id", "kind", "room")}
    tx.record(room_stream(room.id), f"agent.{report.kind}", report.detail or report.kind, data)
    if report.kind == "exited":
        guarding.has_stopped(world, tx, room.id, role.name, report.connection_id, report.task)
        release_attempt(world, tx, role, report)
        if not report.intended:
            end_sitting(world, tx, role, participant, EXITED, report)
        elif not is_wished_here(room, role, machine):
            end_sitting(world, tx, role, participant, STOPPED, report)
    if counts(role, machine, participant, report):
        if report.kind in RESTS:
            # A role crash-loops only after a failure: this report counts as one, unless an `exited` came before it.
            end_sitting(world, tx, role, participant, EXITED if report.kind == PARKED else STOPPED, report)
        take_rest(world, tx, room, report, was_over=participant is not None and participant.status == CLOSED)
    return True


def completed(role: Role, participant: Sitting | None, report: Fact) -> Fact:
    """The report with defaults for absent fields: the newest participant of a crash-looping role is its probe run."""
    is_newest = participant is not None and participant.status != CLOSED and participant.epoch == role.epoch
    probe = (role.rests_as == PARKED and is_newest) if report.trial is None else report.trial
    return msgspec.structs.replace(report, intended=bool(report.intended), trial=probe)


def is_wished_here(room: Room, role: Role, machine: Machine) -> bool:
    """Whether the role's agent should run on that machine. If not, even an intended exit ends its participant."""
    should_run = room.status == OPEN and role.desired == RUNNING
    return should_run and role.is_run_by_daemon and role.machine == machine.id


def counts(role: Role, machine: Machine, participant: Sitting | None, report: Fact) -> bool:
    """Whether a report may change the restart hold of its role. One about an earlier state becomes only an event."""
    is_assigned = role.is_run_by_daemon and role.machine == machine.id
    is_newest = participant is not None and participant.epoch == role.epoch
    return is_assigned and is_newest and report.generation in (None, role.generation)


def take_rest(world: World, tx: Transaction, room: Room, report: Fact, was_over: bool) -> None:
    """Set or clear the restart hold of a role.

    `was_over`: the participant had ended before this report. Then an `exited` does not replace the `parked` or
    `paused` hold that it led to.
    """
    role = rooms.role(tx, room.id, report.role)
    assert role is not None
    until = read_instant(report.until)
    if report.kind in RESTS:
        resting.rest(tx, room, role, report.kind, until, first_line(report) or role.last_exit or report.kind)
    elif report.kind == "exited" and not report.intended:
        if report.trial:
            # The `parked` report that follows has the reason for which the role waits for a user.
            resting.rest(tx, room, role, PARKED, until or role.rests_until, describe(report))
        elif not (was_over and role.rests_as in RESTS):
            latest = instant_of(seconds_of(tx.now.instant) + world.limits.restart_pause_s_max)
            resting.rest(tx, room, role, BACKING_OFF, until or latest, describe(report))
    elif report.kind == "unparked" and role.rests_as == PARKED:
        resting.end(tx, room, role, "the probe run succeeded")


def release_attempt(world: World, tx: Transaction, role: Role, report: Fact) -> None:
    """Release the attempt whose process exited, if it still holds its task. No other sign of an end is as certain."""
    task = tasks.get(tx, report.task) if report.task is not None else None
    if task is None or report.attempt is None or task.room != role.room:
        return
    if is_held_by(task, report.connection_id, report.attempt):
        # To find the fault a user needs the command's last output, which is in the detail.
        cause = describe(report) if report.intended else report.detail or describe(report)
        working.release(world, tx, task, STOPPED if report.intended else EXITED, cause, on_trial=bool(report.trial))


def end_sitting(
    world: World, tx: Transaction, role: Role, participant: Sitting | None, end_cause: str, report: Fact
) -> None:
    """End the participant of an agent that failed, or whose daemon holds its restart."""
    if participant is not None and participant.status != CLOSED and participant.epoch >= role.epoch:
        cause = describe(report)
        seating.end(world, tx, participant, end_cause, cause, release_as=end_cause, on_trial=bool(report.trial))


def describe(report: Fact) -> str:
    """How a process ended, as a text for users."""
    if report.kind != "exited":
        return first_line(report) or report.kind
    if report.intended:
        return "stopped as requested" if report.code != 0 else "exited as expected"
    if report.signal is not None:
        return f"killed by signal {report.signal}"
    if report.code is not None:
        return f"exited with code {report.code}"
    return first_line(report) or "exited"


def first_line(report: Fact) -> str | None:
    """The first line of a report's detail; None if there is none."""
    return report.detail.strip().partition("\n")[0] or None if report.detail else None


def read_instant(text: str | None) -> str | None:
    """An instant in the server's format; None if it is invalid: a daemon's clock is shown and decides nothing."""
    if text is None:
        return None
    try:
        return instant_of(seconds_of(text))
    except (ValueError, OverflowError):
        return None
