"""Formats events for users, one line each, for `greenroom why` and `greenroom watch`.

`why` has a sentence with the cause for each type in `FORMATTERS`. Other types, and all events in `watch`, are formatted
by their fields (`format_fields`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from greenroom.cli.display_text import first_line
from greenroom.cli.terminal import format_clock_time
from greenroom.domain.event import Event

MachineNames = Mapping[str, str]
"""The names of machines by their ids."""
EventData = dict[str, Any]

CAUSE_CHARACTERS = 160
SENTENCE_CHARACTERS = 400
UNKNOWN_EXIT = "exit status unknown"

FIELDS_SHOWN_ELSEWHERE = ("role", "connection_id", "request", "status", "at", "by", "detail")
"""Fields of an event's data that the line shows elsewhere, or that only programs need."""


def format_history(events: Iterable[Event], names: MachineNames) -> Iterator[str]:
    """Format the events of one role in their order, one line for each."""
    machine: str | None = None
    for event in events:
        data = event.data
        if event.type == "agent.configured":
            if machine is not None and data.get("machine") != machine:
                data = data | {"moved_from": machine}
            machine = data.get("machine")
        yield f"{format_clock_time(event.at)}  {format_event(event, data, names)}"


def format_event(event: Event, data: EventData, names: MachineNames) -> str:
    """Format one event with its cause, at most `SENTENCE_CHARACTERS` long."""
    sentence = FORMATTERS.get(event.type)
    cause = format_cause(event)
    if sentence is None:
        text = f"{event.type} {format_fields(event)}".strip() + format_reason(cause)
    else:
        text = sentence(data, cause, names)
    return first_line(text, SENTENCE_CHARACTERS)


def format_cause(event: Event) -> str:
    return first_line(event.cause, CAUSE_CHARACTERS)


def format_configured(data: EventData, cause: str, names: MachineNames) -> str:
    """A change of the agent spec. `moved_from` is the machine of the spec before, if it was another one."""
    by = data.get("by") or "a user"
    text = f"{by} set it to {data.get('desired')}"
    if moved_from := data.get("moved_from"):
        text = f"{by} moved it from machine {machine_name(moved_from, names)}"
    if data.get("machine"):
        text += (
            f" {'to' if moved_from else 'on'} machine {machine_name(data['machine'], names)} with {data.get('harness')}"
        )
    elif data.get("kind") == "custom":
        text += ", run by a user" if not moved_from else " to a user"
    return f"{text} (generation {data.get('generation')})" + format_reason(cause, by)


def format_reason(cause: str, by: str = "") -> str:
    return f": {cause}" if cause and cause != by else ""


def machine_name(machine: str, names: MachineNames) -> str:
    return names.get(machine, machine)


def format_run(data: EventData) -> str:
    """The task and attempt of a run; empty for a resident."""
    return f" for {data['task']} (attempt {data.get('attempt')})" if data.get("task") else ""


def format_started(data: EventData, cause: str, names: MachineNames) -> str:
    return f"command started{format_run(data)}"


def format_exited(data: EventData, cause: str, names: MachineNames) -> str:
    """How a run ended: as intended, or failed, with its restart hold. A run that could not start has no task."""
    if data.get("intended"):
        return f"command exited as intended{format_run(data)}{format_reason(cause, 'exited')}"
    how = cause if cause and cause != "exited" else UNKNOWN_EXIT
    if data.get("signal") is not None and "SIG" not in cause:
        how = f"killed by signal {data['signal']}{format_reason(cause, 'exited')}"
    elif data.get("code") is not None and f"code {data['code']}" not in cause:
        how = f"exit code {data['code']}{format_reason(cause, 'exited')}"
    probe = ", probe run" if data.get("probe") else ""
    hold = f"; no restart before {format_clock_time(data['until'])}" if data.get("until") else ""
    outcome = "command failed" if has_started(data) else "no command is running"
    return f"{outcome}{format_run(data)}{probe}: {how}{hold}"


def has_started(data: EventData) -> bool:
    return any(data.get(field) is not None for field in ("task", "code", "signal"))


def format_crash_looping(data: EventData, cause: str, names: MachineNames) -> str:
    probe = ", then one probe run" if data.get("until") else ""
    return f"crash-looping, held {format_until(data)}{probe}{format_reason(cause, 'crash_looping')}"


def format_recovered(data: EventData, cause: str, names: MachineNames) -> str:
    return f"recovered: its probe run completed the task{format_reason(cause, 'recovered')}"


def format_paused(data: EventData, cause: str, names: MachineNames) -> str:
    return f"paused {format_until(data)}{format_reason(cause, 'paused')}"


def format_until(data: EventData) -> str:
    return f"until {format_clock_time(data['until'])}" if data.get("until") else "until a user restarts it"


def participant_formatter(how: str) -> Callable[[EventData, str, MachineNames], str]:
    """A formatter for events of a participant: what happened, on which machine, its id, and the cause."""

    def sentence(data: EventData, cause: str, names: MachineNames) -> str:
        place = f" on machine {machine_name(data['machine'], names)}" if data.get("machine") else ""
        return f"{how}{place}: {data.get('connection_id')} (epoch {data.get('epoch')}){format_reason(cause)}"

    return sentence


def machine_formatter(how: str) -> Callable[[EventData, str, MachineNames], str]:
    """A formatter for events of a machine that the role is assigned to. These events hold the machine's name."""

    def sentence(data: EventData, cause: str, names: MachineNames) -> str:
        return f"machine {data.get('name') or ''} {how}".replace("  ", " ") + format_reason(cause)

    return sentence


def task_formatter(how: str) -> Callable[[EventData, str, MachineNames], str]:
    """A formatter for events of one of the role's tasks."""

    def sentence(data: EventData, cause: str, names: MachineNames) -> str:
        attempt = f" (attempt {data['attempt']})" if data.get("attempt") else ""
        count = data.get("failures")
        failures = f", {count} failure{'' if count == 1 else 's'}" if count else ""
        return f"{data.get('task')} {how}{attempt}{failures}{format_reason(cause)}"

    return sentence


def format_note(data: EventData, cause: str, names: MachineNames) -> str:
    attempt = f" (attempt {data['attempt']})" if data.get("attempt") else ""
    return f"{cause or 'a user'} added a note to {data.get('task')}{attempt}: {data.get('text')}"


def alert_formatter(how: str) -> Callable[[EventData, str, MachineNames], str]:
    def sentence(data: EventData, cause: str, names: MachineNames) -> str:
        return f"alert {how}: {data.get('text')}"

    return sentence


def room_formatter(how: str) -> Callable[[EventData, str, MachineNames], str]:
    return lambda data, cause, names: f"the room was {how}{format_reason(cause)}"


FORMATTERS: dict[str, Callable[[EventData, str, MachineNames], str]] = {
    "room.created": room_formatter("created"),
    "room.changed": room_formatter("changed"),
    "room.closed": room_formatter("closed"),
    "agent.configured": format_configured,
    "agent.started": format_started,
    "agent.exited": format_exited,
    "agent.crash_looping": format_crash_looping,
    "agent.recovered": format_recovered,
    "agent.paused": format_paused,
    "participant.joined": participant_formatter("joined"),
    "participant.left": participant_formatter("left"),
    "participant.expired": participant_formatter("lease expired"),
    "participant.rejoined": participant_formatter("rejoined"),
    "participant.superseded": participant_formatter("superseded by a newer participant"),
    "machine.registered": machine_formatter("registered"),
    "machine.disconnected": machine_formatter("disconnected"),
    "machine.reconnected": machine_formatter("connected"),
    "machine.cloned": machine_formatter("has two daemons; the newest one is used"),
    "task.opened": task_formatter("was opened"),
    "task.queued": task_formatter("was queued from the backlog"),
    "task.promoted": task_formatter("can be claimed now"),
    "task.claimed": task_formatter("was claimed"),
    "task.started": task_formatter("was started"),
    "task.noted": format_note,
    "task.progressed": task_formatter("reported progress"),
    "task.handed_in": task_formatter("was submitted for review"),
    "task.completed": task_formatter("was completed"),
    "task.released": task_formatter("was released"),
    "task.resumed": task_formatter("was resumed"),
    "task.late_result": task_formatter("got a late result"),
    "task.quarantined": task_formatter("was quarantined"),
    "task.closed": task_formatter("was closed"),
    "task.sent_back": task_formatter("was sent back"),
    "alert.raised": alert_formatter("raised"),
    "alert.resolved": alert_formatter("resolved"),
}


def format_event_line(event: Event, where: str) -> str:
    """One line: time, room and role, event type, fields, and the cause in brackets."""
    place = f"{where}/{event.data['role']}" if event.data.get("role") else where
    return " ".join(
        filter(
            None,
            (format_clock_time(event.at), f"{place:24}", f"{event.type:24}", format_fields(event), get_cause(event)),
        )
    )


def format_fields(event: Event) -> str:
    """The remaining fields of an event's data as `name=value`, without empty ones."""
    return " ".join(
        f"{name}={first_line(format_field(value), 60)}"
        for name, value in event.data.items()
        if name not in FIELDS_SHOWN_ELSEWHERE and value not in (None, "", 0, [], {})
    )


def format_field(value: object) -> str:
    """Format a value: a list with commas and without brackets, everything else as it is."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def get_cause(event: Event) -> str:
    """The cause of an event in brackets; empty if it has none."""
    return f"({first_line(event.cause, 120)})" if event.cause else ""
