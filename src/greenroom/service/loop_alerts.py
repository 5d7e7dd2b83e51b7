"""Raises and resolves the alerts about late background loops of the server.

Which loops are late is decided in memory, and recorded as soon as the store takes it: a late loop may mean that the
store commits nothing. A loop that is late only at the first look after a pause of the whole process raises nothing.
Option: `sweep_interval_s`, for which a loop must stay late.
"""

from collections.abc import Collection
from concurrent.futures import Future
from functools import partial

from greenroom.domain.alert import LOOP_LATE, Alert, alert_key
from greenroom.domain.errors import GreenroomError
from greenroom.service import alerts
from greenroom.service.alert_content import AlertFacts, describe
from greenroom.service.context import ServiceContext
from greenroom.store import alerts as stored_alerts
from greenroom.store.transaction import Reader, Transaction


def watch_loops(context: ServiceContext, late: Collection[str]) -> None:
    """Update the alerts after a look at the loops; `late` are the names of those that are late now."""
    state, now = context.late_loops, context.now()
    state.first_seen = {name: state.first_seen.get(name, now.monotonic) for name in late}
    names = {name for name in late if now.monotonic - state.first_seen[name] >= context.limits.sweep_interval_s}
    raised = {alert.subject: alert for alert in state.alerts}
    state.alerts = tuple(raised.get(name) or build_alert(name, now.instant) for name in sorted(names))
    if state.is_recording or names == state.recorded:
        return
    state.is_recording = True
    try:
        written = context.store.write(partial(record_late_loops, names=names))
    except GreenroomError:  # The store takes nothing now: the next look tries again.
        state.is_recording = False
    else:
        written.add_done_callback(partial(on_recorded, context, names))


def build_alert(name: str, instant: str) -> Alert:
    """The alert about a late loop."""
    facts = AlertFacts(kind=LOOP_LATE, subject=name)
    return Alert(key=alert_key(LOOP_LATE, name), text=describe(facts), raised_at=instant)


def record_late_loops(tx: Transaction, names: set[str]) -> None:
    """Raise the alerts of the loops that are late, and resolve those of the others."""
    raised = {alert.subject for alert in stored_alerts.list_of_kind(tx, LOOP_LATE)}
    for name in sorted(names - raised):
        alerts.raise_alert(tx, AlertFacts(kind=LOOP_LATE, subject=name))
    for name in sorted(raised - names):
        alerts.resolve_alert(tx, alert_key(LOOP_LATE, name), f"the loop {name} is on time again")


def on_recorded(context: ServiceContext, names: set[str], written: Future[None]) -> None:
    """Allow the next record; one that failed is tried again."""
    if written.exception() is None:
        context.late_loops.recorded = names
    context.late_loops.is_recording = False


def restore_late_loops(context: ServiceContext, reader: Reader) -> None:
    """Restore after a restart which loops have a raised alert. Those that are on time resolve theirs."""
    context.late_loops.recorded = {alert.subject for alert in stored_alerts.list_of_kind(reader, LOOP_LATE)}
