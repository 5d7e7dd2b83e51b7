"""An event as a line that people read. Knows which parts of an event matter; must not know who recorded it."""

from greenroom.cli.output import clock_time, first_line
from greenroom.domain.event import Event

BESIDE = ("role", "connection_id", "request", "status", "at", "by", "detail")
"""Parts of the data that are said elsewhere in the line, or that only programs need."""


def spell(event: Event, where: str) -> str:
    """One line: when, where, what, with which particulars, and why."""
    seat = f"{where}/{event.data['role']}" if event.data.get("role") else where
    return " ".join(
        filter(None, (clock_time(event.at), f"{seat:24}", f"{event.type:24}", particulars(event), reason(event)))
    )


def particulars(event: Event) -> str:
    """The parts of an event's data that its line has no other place for."""
    return " ".join(
        f"{name}={first_line(spell_value(value), 60)}"
        for name, value in event.data.items()
        if name not in BESIDE and value not in (None, "", 0, [], {})
    )


def spell_value(value: object) -> str:
    """A particular: lists without brackets, everything else as it is."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def reason(event: Event) -> str:
    """Why it happened, as the event says itself."""
    return f"({first_line(event.cause, 120)})" if event.cause else ""
