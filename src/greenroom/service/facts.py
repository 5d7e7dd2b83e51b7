"""Facts that daemons report: what happened to processes. Taken once each, in order; must not know processes."""

import msgspec

from greenroom.clock import instant_of, seconds_of
from greenroom.domain import caller as callers
from greenroom.domain.caller import Caller
from greenroom.domain.errors import Superseded
from greenroom.domain.event import room_stream
from greenroom.domain.machine import judge_incarnation
from greenroom.domain.role import Role
from greenroom.domain.sitting import CLOSED, SUPERSEDED
from greenroom.domain.task import EXITED, STOPPED, is_held_by
from greenroom.service import access, guarding, seating, working
from greenroom.service.world import World
from greenroom.store import machines, rooms, sittings, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import FactsReply
from greenroom.wire.requests import Fact, PostFacts


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
            accepted += take_one(world, tx, caller, fact)
    return FactsReply(status="ok", accepted=accepted)


def take_one(world: World, tx: Transaction, caller: Caller, fact: Fact) -> bool:
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
    data = {name: getattr(fact, name) for name in Fact.__struct_fields__ if name not in ("id", "kind", "room")}
    tx.record(room_stream(room.id), f"agent.{fact.kind}", fact.detail or fact.kind, data)
    if fact.kind == "exited":
        guarding.has_stopped(world, tx, room.id, role.name, fact.connection_id, fact.task)
        release_attempt(world, tx, role, fact)
        if not fact.intended:
            end_sitting(world, tx, role, fact)
    return True


def release_attempt(world: World, tx: Transaction, role: Role, fact: Fact) -> None:
    """Release the attempt whose process ended, if it still holds its task: this is the most trusted word there is."""
    task = tasks.get(tx, fact.task) if fact.task is not None else None
    if task is None or fact.attempt is None or task.room != role.room:
        return
    if is_held_by(task, fact.connection_id, fact.attempt):
        # Whoever is to mend it needs the command's last words, which are in the detail.
        cause = describe(fact) if fact.intended else fact.detail or describe(fact)
        working.release(world, tx, task, STOPPED if fact.intended else EXITED, cause)


def end_sitting(world: World, tx: Transaction, role: Role, fact: Fact) -> None:
    """End the sitting of an agent that died, and note until when its daemon lets it rest."""
    known = sittings.get(tx, role.room, role.name, fact.connection_id)
    if known is None or known.status == CLOSED or known.epoch < role.epoch:
        return
    seating.end(world, tx, known, "exited", describe(fact), release_as=EXITED)
    current = rooms.role(tx, role.room, role.name)
    assert current is not None
    rests_until = read_instant(fact.until)
    rooms.save_role(tx, current, msgspec.structs.replace(current, rests_until=rests_until, last_exit=describe(fact)))


def describe(fact: Fact) -> str:
    """Say in a person's words how a process ended."""
    if fact.intended:
        return "stopped as wished" if fact.code != 0 else "ended as expected"
    if fact.signal is not None:
        return f"killed by signal {fact.signal}"
    if fact.code is not None:
        return f"exited with code {fact.code}"
    return fact.detail.strip().partition("\n")[0] if fact.detail and fact.detail.strip() else "ended"


def read_instant(text: str | None) -> str | None:
    """An instant in our own spelling; None for what is none, since a daemon's clock only tells, and never decides."""
    if text is None:
        return None
    try:
        return instant_of(seconds_of(text))
    except (ValueError, OverflowError):
        return None
