"""Detects two daemons that run for one machine, mostly because a disk was copied, and raises an alert.

The newest incarnation of a daemon owns the machine. A heartbeat of an older incarnation on a connection that is still
open is not a delayed one of a daemon that has ended: a second daemon is running. The alert stays until no older
incarnation was heard for `duplicate_machine_alert_s` seconds; a restart of the server begins that time again.
"""

from functools import partial

from greenroom.domain.alert import MACHINE_CLONED, alert_key
from greenroom.domain.event import machine_stream
from greenroom.domain.machine import Machine
from greenroom.service import alerts
from greenroom.service.alert_content import AlertFacts
from greenroom.service.context import ServiceContext
from greenroom.store import alerts as stored_alerts
from greenroom.store.transaction import Reader, Transaction


def record_older_incarnation(context: ServiceContext, tx: Transaction, machine: Machine, older: str) -> None:
    """Record that an older incarnation of a machine sent a heartbeat although a newer one exists."""
    key = alert_key(MACHINE_CLONED, machine.id)
    if stored_alerts.get(tx, key) is None:
        data = {"machine": machine.id, "name": machine.name, "incarnation": machine.incarnation, "older": older}
        tx.record_event(
            machine_stream(machine.id), "machine.cloned", f"incarnation {older} still sends heartbeats", data
        )
        alerts.raise_alert(tx, AlertFacts(kind=MACHINE_CLONED, subject=machine.id, machine=machine))
    tx.on_commit(partial(context.cloned_machines.record, machine.id, tx.now.monotonic))


def resolve_clone_alert(context: ServiceContext, tx: Transaction, machine: str, cause: str) -> None:
    """Resolve the alert about two daemons of a machine."""
    alerts.resolve_alert(tx, alert_key(MACHINE_CLONED, machine), cause)
    tx.on_commit(partial(context.cloned_machines.remove, machine))


def resolve_overdue_clone_alerts(context: ServiceContext, now: float) -> None:
    """Resolve the alerts of machines whose older daemon has been silent for `duplicate_machine_alert_s` seconds."""
    silence_s = context.limits.duplicate_machine_alert_s
    # If the write fails, it is retried after the same time.
    for machine in context.cloned_machines.restart_overdue(now, silence_s):
        cause = f"no heartbeat of an older daemon for {silence_s:g} s"
        context.store.write(partial(resolve_clone_alert, context, machine=machine, cause=cause))


def restore_clone_alerts(context: ServiceContext, reader: Reader) -> None:
    """Restore the raised alerts about two daemons after a restart of the server; each wait begins again."""
    now = context.clock.monotonic()
    for alert in stored_alerts.list_of_kind(reader, MACHINE_CLONED):
        context.cloned_machines.record(alert.subject, now)
