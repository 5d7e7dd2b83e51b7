"""Formats what needs the user as a table. The server judges it and names the next command; nothing is derived here."""

from greenroom.cli.display_text import first_line
from greenroom.cli.table import Table
from greenroom.wire.replies import AlertView

ALERT_HEADS = ("WHERE", "WHAT", "NEXT")
TEXT_CHARACTERS = 300
"""An alert may be longer than other texts: what a user can do stands at its end."""


def alerts_table(alerts: tuple[AlertView, ...]) -> Table:
    """A table of alerts, in the order of the server."""
    rows = [(where(alert), first_line(alert.text, TEXT_CHARACTERS), alert.next) for alert in alerts]
    return Table("Needs you", ALERT_HEADS, rows)


def where(alert: AlertView) -> str:
    """The role, the room, or else the subject: a machine, a loop or the server."""
    if alert.room is None:
        return alert.subject
    return f"{alert.room}/{alert.role}" if alert.role is not None else alert.room
