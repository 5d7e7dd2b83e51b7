"""`greenroom why ROOM/ROLE`: explains the status of a role from its record: tasks, absences, events and limits."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

import msgspec

from greenroom.cli.amounts import duration, seconds_to
from greenroom.cli.condition import QUEUES, advice, advice_on_queue, spell
from greenroom.cli.connection import session_of
from greenroom.cli.evidence import Evidence, Gap, gather
from greenroom.cli.force import InForce, in_force
from greenroom.cli.narration import narrate
from greenroom.cli.output import clock_time, first_line, print_json, print_lines
from greenroom.clock import SystemClock, seconds_of
from greenroom.domain.role import REMOTE
from greenroom.domain.room import OPEN
from greenroom.domain.status import WAITING
from greenroom.domain.task import QUARANTINED, QUEUED
from greenroom.settings.resolve import Settings

REASON_CHARACTERS = 300
EXACT_S = 60.0
"""Seconds below which an absence is shown with decimals."""


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    session = session_of(settings)
    evidence = gather(session, arguments.seat)
    limits = in_force(session)
    now = SystemClock().wall()
    if arguments.json:
        document = {"limits": limits.values, "limits_of": limits.origin, "next": following(evidence, now)}
        print_json(out, msgspec.structs.asdict(evidence) | document)
    else:
        print_lines(out, tell(evidence, limits, now))
    return 0


def tell(evidence: Evidence, limits: InForce, now: float) -> Iterator[str]:
    """The lines of the explanation: status, tasks, absences, events, limits in force, and what to do next."""
    yield from present(evidence, now)
    yield from work(evidence)
    if evidence.gaps:
        yield "\nabsences:"
        yield from (f"  {spell_gap(gap, now)}" for gap in evidence.gaps)
    yield "\nhistory, oldest first (UTC):"
    yield from (f"  {line}" for line in narrate(evidence.events, evidence.machine_names))
    if not evidence.events:
        yield "  no events yet"
    yield ""
    yield from limits.tell(evidence.role)
    yield f"\nnext: {following(evidence, now)}"


def following(evidence: Evidence, now: float) -> str:
    """What to do next."""
    quarantined = next((task for task in evidence.tasks if task.status == QUARANTINED), None)
    if quarantined is not None:
        return f"a quarantined task needs you: greenroom task show {quarantined.id}"
    queued = [task.status == QUEUED for task in evidence.tasks]
    if evidence.role.status == WAITING and queued and all(queued):
        return f"{advice_on_queue(evidence.room)}; to see what runs first: greenroom status"
    held = next((task.id for task in evidence.tasks if task.claimed_by), None)
    return advice(evidence.room, evidence.room_status == OPEN, evidence.role, held, now)


def present(evidence: Evidence, now: float) -> Iterator[str]:
    """The status of the role, its agent spec, its participant and machine, and their last heartbeats."""
    role = evidence.role
    until = f" (until {clock_time(role.status_until)})" if role.status_until else ""
    because = f": {first_line(role.status_reason, REASON_CHARACTERS)}" if role.status_reason else ""
    yield f"{evidence.room}/{role.name} is {spell(role, now)}{until}{because}"
    by = f", by {role.desired_by}" if role.desired_by else ""
    at = f" at {clock_time(role.wished_at)}" if role.wished_at else ""
    why = f": {role.desired_reason}" if role.desired_reason else ""
    machine_name = evidence.machine_names.get(role.machine or "", role.machine)
    where = f" on {machine_name} with {role.harness}" if role.machine else ""
    yield f"  desired: {role.desired}, {role.kind}{where} (generation {role.generation}{by}{at}{why})"
    if role.task_timeout_s is not None:
        yield f"  task timeout: {duration(role.task_timeout_s)}; then its run is stopped, which counts as a failure"
    participant = evidence.participant
    if participant is not None:
        since = clock_time(participant.joined_at)
        yield f"  present: {participant.connection_id} (epoch {participant.epoch}) since {since}"
        yield f"  its lease lasts until {clock_time(participant.ready_until)}; every heartbeat renews it"
    yield f"  last seen: {spell_seen(role.last_seen_at, now)}"
    machine = evidence.machine
    if machine is not None:
        state = "connected" if machine.daemon_connected else "not connected"
        yield f"  machine {machine.name}: {state}, last heartbeat: {spell_seen(machine.last_seen_at, now)}"


def spell_seen(at: str | None, now: float) -> str:
    """Format the time of a heartbeat, and how long ago it was."""
    if at is None:
        return "never"
    return f"{clock_time(at)}, {duration(-seconds_to(at, now))} ago"


def work(evidence: Evidence) -> Iterator[str]:
    """The role's open tasks."""
    for task in evidence.tasks:
        held = f", held by {task.claimed_by}" if task.claimed_by else ""
        released = f", released: {task.released_cause}" if task.released_cause and not task.claimed_by else ""
        reason = QUEUES if task.status == QUEUED else task.reason
        why = f": {first_line(reason, REASON_CHARACTERS)}" if reason else ""
        failures = f"{task.deaths} failure{'' if task.deaths == 1 else 's'}"
        yield f"  task {task.id} is {task.status} (attempt {task.attempt}, {failures}{held}{released}){why}"
        if task.attempt and evidence.role.kind == REMOTE:
            folder = f"logs/{evidence.room}/{task.target_role}/{task.id}.{task.attempt}/"
            yield f"    output of that attempt: {folder} in the data directory of the machine that ran it"


def spell_gap(gap: Gap, now: float) -> str:
    """Format one absence."""
    subject = f"machine {gap.machine}" if gap.machine else "the role"
    if gap.until is None:
        return f"{subject}: since {clock_time(gap.since)}, for {duration(now - seconds_of(gap.since))} ({gap.cause})"
    away_s = gap.seconds or 0.0
    seconds = f"{away_s:g} s" if away_s < EXACT_S else duration(away_s)
    ending = "reconnected" if gap.machine or gap.ended_by == "participant.rejoined" else "a new participant joined"
    return f"{subject}: {clock_time(gap.since)} to {clock_time(gap.until)}, {seconds} ({gap.cause}); {ending}"
