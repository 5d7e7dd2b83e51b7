"""Formats an event as one line for people."""

from greenroom.cli.output import clock_time, first_line
from greenroom.domain.event import Event

BESIDE = ("role", "connection_id", "request", "status", "at", "by", "detail")
"""Fields of an event's data that the line shows elsewhere, or that only programs need."""


def spell(event: Event, where: str) -> str:
    """One line: time, room and role, event type, fields, and the cause in brackets."""
    place = f"{where}/{event.data['role']}" if event.data.get("role") else where
    return " ".join(
        filter(None, (clock_time(event.at), f"{place:24}", f"{event.type:24}", particulars(event), reason(event)))
    )


def particulars(event: Event) -> str:
    """The remaining fields of an event's data as `name=value`, without empty ones."""
    return " ".join(
        f"{name}={first_line(spell_value(value), 60)}"
        for name, value in event.data.items()
        if name not in BESIDE and value not in (None, "", 0, [], {})
    )


def spell_value(value: object) -> str:
    """Format a value: a list with commas and without brackets, everything else as it is."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def reason(event: Event) -> str:
    """The cause of an event in brackets; empty if it has none."""
    return f"({first_line(event.cause, 120)})" if event.cause else ""
