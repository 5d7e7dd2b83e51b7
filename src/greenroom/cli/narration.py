"""Formats the events of a role for `greenroom why`: one line each, with the cause.

Event types without a sentence here are formatted by `story`, as in `greenroom watch`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from greenroom.cli.output import clock_time, first_line
from greenroom.cli.story import particulars
from greenroom.domain.event import Event

Names = Mapping[str, str]
"""The names of machines by their ids."""
Data = dict[str, Any]

CAUSE_CHARACTERS = 160
SENTENCE_CHARACTERS = 400
NOBODY_SAW = "exit status unknown"


def narrate(events: Iterable[Event], names: Names) -> Iterator[str]:
    """Format the events of one role in their order, one line for each."""
    machine: str | None = None
    for event in events:
        data = event.data
        if event.type == "role.wished":
            if machine is not None and data.get("machine") != machine:
                data = data | {"moved_from": machine}
            machine = data.get("machine")
        yield f"{clock_time(event.at)}  {tell(event, data, names)}"


def tell(event: Event, data: Data, names: Names) -> str:
    """Format one event with its cause, at most `SENTENCE_CHARACTERS` long."""
    sentence = SENTENCES.get(event.type)
    cause = because(event)
    if sentence is None:
        text = f"{event.type} {particulars(event)}".strip() + why(cause)
    else:
        text = sentence(data, cause, names)
    return first_line(text, SENTENCE_CHARACTERS)


def because(event: Event) -> str:
    return first_line(event.cause, CAUSE_CHARACTERS)


def wished(data: Data, cause: str, names: Names) -> str:
    """A change of the agent spec. `moved_from` is the machine of the spec before, if it was another one."""
    by = data.get("by") or "a user"
    text = f"{by} set it to {data.get('desired')}"
    if moved_from := data.get("moved_from"):
        text = f"{by} moved it from machine {named(moved_from, names)}"
    if data.get("machine"):
        text += f" {'to' if moved_from else 'on'} machine {named(data['machine'], names)} with {data.get('harness')}"
    elif data.get("kind") == "custom":
        text += ", run by a user" if not moved_from else " to a user"
    return f"{text} (generation {data.get('generation')})" + why(cause, by)


def why(cause: str, by: str = "") -> str:
    return f": {cause}" if cause and cause != by else ""


def named(machine: str, names: Names) -> str:
    return names.get(machine, machine)


def run_of(data: Data) -> str:
    """The task and attempt of a run; empty for a resident."""
    return f" for {data['task']} (attempt {data.get('attempt')})" if data.get("task") else ""


def started(data: Data, cause: str, names: Names) -> str:
    return f"command started{run_of(data)}"


def exited(data: Data, cause: str, names: Names) -> str:
    """How a run ended: as intended, or failed, with its restart hold. A run that could not start has no task."""
    if data.get("intended"):
        return f"command exited as intended{run_of(data)}{why(cause, 'exited')}"
    how = cause if cause and cause != "exited" else NOBODY_SAW
    if data.get("signal") is not None and "SIG" not in cause:
        how = f"killed by signal {data['signal']}{why(cause, 'exited')}"
    elif data.get("code") is not None and f"code {data['code']}" not in cause:
        how = f"exit code {data['code']}{why(cause, 'exited')}"
    probe = ", probe run" if data.get("trial") else ""
    hold = f"; no restart before {clock_time(data['until'])}" if data.get("until") else ""
    outcome = "command failed" if began(data) else "no command is running"
    return f"{outcome}{run_of(data)}{probe}: {how}{hold}"


def began(data: Data) -> bool:
    return any(data.get(field) is not None for field in ("task", "code", "signal"))


def parked(data: Data, cause: str, names: Names) -> str:
    probe = ", then one probe run" if data.get("until") else ""
    return f"crash-looping, held {until(data)}{probe}{why(cause, 'parked')}"


def unparked(data: Data, cause: str, names: Names) -> str:
    return f"recovered: its probe run completed the task{why(cause, 'unparked')}"


def paused(data: Data, cause: str, names: Names) -> str:
    return f"paused {until(data)}{why(cause, 'paused')}"


def until(data: Data) -> str:
    return f"until {clock_time(data['until'])}" if data.get("until") else "until a user restarts it"


def sat(how: str) -> Callable[[Data, str, Names], str]:
    """A formatter for events of a participant: what happened, on which machine, its id, and the cause."""

    def sentence(data: Data, cause: str, names: Names) -> str:
        place = f" on machine {named(data['machine'], names)}" if data.get("machine") else ""
        return f"{how}{place}: {data.get('connection_id')} (epoch {data.get('epoch')}){why(cause)}"

    return sentence


def machine(how: str) -> Callable[[Data, str, Names], str]:
    """A formatter for events of a machine that the role is assigned to. These events hold the machine's name."""

    def sentence(data: Data, cause: str, names: Names) -> str:
        return f"machine {data.get('name') or ''} {how}".replace("  ", " ") + why(cause)

    return sentence


def worked(how: str) -> Callable[[Data, str, Names], str]:
    """A formatter for events of one of the role's tasks."""

    def sentence(data: Data, cause: str, names: Names) -> str:
        attempt = f" (attempt {data['attempt']})" if data.get("attempt") else ""
        count = data.get("deaths")
        failures = f", {count} failure{'' if count == 1 else 's'}" if count else ""
        return f"{data.get('task')} {how}{attempt}{failures}{why(cause)}"

    return sentence


def noted(data: Data, cause: str, names: Names) -> str:
    attempt = f" (attempt {data['attempt']})" if data.get("attempt") else ""
    return f"{cause or 'a user'} added a note to {data.get('task')}{attempt}: {data.get('text')}"


def attention(how: str) -> Callable[[Data, str, Names], str]:
    def sentence(data: Data, cause: str, names: Names) -> str:
        return f"alert {how}: {data.get('text')}"

    return sentence


def room(how: str) -> Callable[[Data, str, Names], str]:
    return lambda data, cause, names: f"the room was {how}{why(cause)}"


SENTENCES: dict[str, Callable[[Data, str, Names], str]] = {
    "room.created": room("created"),
    "room.changed": room("changed"),
    "room.closed": room("closed"),
    "role.wished": wished,
    "agent.started": started,
    "agent.exited": exited,
    "agent.parked": parked,
    "agent.unparked": unparked,
    "agent.paused": paused,
    "participant.joined": sat("joined"),
    "participant.left": sat("left"),
    "participant.expired": sat("lease expired"),
    "participant.rejoined": sat("rejoined"),
    "participant.superseded": sat("superseded by a newer participant"),
    "machine.registered": machine("registered"),
    "machine.disconnected": machine("disconnected"),
    "machine.reconnected": machine("connected"),
    "machine.cloned": machine("has two daemons; the newest one is used"),
    "task.opened": worked("was opened"),
    "task.queued": worked("was queued from the backlog"),
    "task.promoted": worked("can be claimed now"),
    "task.claimed": worked("was claimed"),
    "task.started": worked("was started"),
    "task.noted": noted,
    "task.progressed": worked("reported progress"),
    "task.handed_in": worked("was submitted for review"),
    "task.completed": worked("was completed"),
    "task.released": worked("was released"),
    "task.resumed": worked("was resumed"),
    "task.late_result": worked("got a late result"),
    "task.quarantined": worked("was quarantined"),
    "task.closed": worked("was closed"),
    "task.sent_back": worked("was sent back"),
    "attention.raised": attention("raised"),
    "attention.resolved": attention("resolved"),
}
