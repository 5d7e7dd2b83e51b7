"""`greenroom why ROOM/ROLE`: the story of a role, from the evidence. Must not guess what is not on record."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

import msgspec

from greenroom.cli.connection import session_of
from greenroom.cli.evidence import Evidence, Gap, gather
from greenroom.cli.output import clock_time, print_json, print_lines
from greenroom.cli.story import spell
from greenroom.domain.reliability import Reliability, variable_of
from greenroom.settings.resolve import Settings

LIMITS = (
    "heartbeat_interval_s",
    "heartbeat_ttl_s",
    "daemon_heartbeat_interval_s",
    "daemon_heartbeat_ttl_s",
    "sweep_interval_s",
    "task_lost_after_s",
    "task_deaths_max",
    "restart_pause_s_max",
)


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    evidence = gather(session_of(settings), arguments.seat)
    limits = {name: getattr(settings.limits, name) for name in LIMITS}
    if arguments.json:
        print_json(out, msgspec.structs.asdict(evidence) | {"limits": limits})
    else:
        print_lines(out, tell(evidence, settings.limits))
    return 0


def tell(evidence: Evidence, limits: Reliability) -> Iterator[str]:
    """The story: how it is, who is there, what work there is, when nobody was there, and everything that happened."""
    yield from present(evidence)
    yield from work(evidence)
    if evidence.gaps:
        yield "\nnobody was there:"
        yield from (f"  {spell_gap(gap)}" for gap in evidence.gaps)
    yield "\nwhat happened, oldest first (UTC):"
    names = {f"machine:{evidence.machine.id}": evidence.machine.name} if evidence.machine else {}
    for event in evidence.events:
        yield f"  {spell(event, names.get(event.stream, evidence.room))}"
    if not evidence.events:
        yield "  nothing yet"
    yield "\nlimits in force as this shell knows them (a server started with other variables goes by its own):"
    yield from (f"  {name} = {getattr(limits, name):g}   ({variable_of(name)})" for name in LIMITS)


def present(evidence: Evidence) -> Iterator[str]:
    """How the role is now and what is wished for it."""
    role = evidence.role
    until = f" until {clock_time(role.status_until)}" if role.status_until else ""
    yield f"{evidence.room}/{role.name} is {role.status}{until}" + (
        f": {role.status_reason}" if role.status_reason else ""
    )
    by = f", by {role.desired_by}" if role.desired_by else ""
    why = f": {role.desired_reason}" if role.desired_reason else ""
    where = f" on {role.machine} with {role.harness}" if role.machine else ""
    yield f"  wished: {role.desired}, {role.kind}{where} (generation {role.generation}{by}{why})"
    sitting = evidence.participant
    if sitting is not None:
        yield f"  present: {sitting.connection_id} (epoch {sitting.epoch}) since {clock_time(sitting.joined_at)}"
        yield f"  its presence lasts until {clock_time(sitting.ready_until)} and is renewed by every beat"
    yield f"  last seen: {clock_time(role.last_seen_at)}"
    machine = evidence.machine
    if machine is not None:
        state = "connected" if machine.daemon_connected else "not connected"
        yield f"  machine {machine.name}: {state}, last seen {clock_time(machine.last_seen_at)}"


def work(evidence: Evidence) -> Iterator[str]:
    """The role's open tasks."""
    for task in evidence.tasks:
        held = f", held by {task.claimed_by}" if task.claimed_by else ""
        freed = f", released: {task.released_cause}" if task.released_cause and not task.claimed_by else ""
        why = f": {task.reason}" if task.reason else ""
        yield f"  task {task.id} is {task.status} (attempt {task.attempt}, {task.deaths} deaths{held}{freed}){why}"


def spell_gap(gap: Gap) -> str:
    """One absence."""
    if gap.until is None:
        return f"since {clock_time(gap.since)} ({gap.cause})"
    by = "the same agent came back" if gap.ended_by == "participant.rejoined" else "a new one came"
    return f"{clock_time(gap.since)} to {clock_time(gap.until)}, {gap.seconds:g} s ({gap.cause}); {by}"
