"""Raises, resolves and lists alerts. An alert is raised once, however often its cause is seen.

Also watches for mass silence: an alert when many machines and agents stop sending heartbeats together. It counts the
leases that expired within the longest TTL (`heartbeat_ttl_s`, `daemon_heartbeat_ttl_s`), without those of agents that
ended in order; `domain.sweep_policy` has the thresholds. It cannot distinguish a fault of the server or its network
from clients that all failed at once, until other clients are heard for as long.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from greenroom.domain import sweep_policy
from greenroom.domain.alert import LOOP_LATE, MASS_SILENCE, Alert, alert_key
from greenroom.domain.event import SERVER_STREAM, room_stream
from greenroom.domain.principal import Principal
from greenroom.service import authorization
from greenroom.service.alert_content import CHECK_COMMAND, AlertFacts, describe, list_actions, next_command
from greenroom.service.alert_facts import read_facts
from greenroom.service.context import ServiceContext
from greenroom.service.state.silent_senders import MassSilence
from greenroom.store import alerts
from greenroom.store.group_commit import Mutation
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import AlertView

MASS_SILENCE_KEY = alert_key(MASS_SILENCE, "server")
ALERT_SUBJECTS_MAX = 1000


def list_alerts(context: ServiceContext, reader: Reader, principal: Principal) -> list[AlertView]:
    """All alerts that are raised now, oldest first. Operators only.

    Those about late loops come from memory: while a loop is late, the store may not be writable.
    """
    authorization.require_operator(principal)
    stored = [alert for alert in alerts.list_all(reader) if alert.kind != LOOP_LATE]
    raised = sorted([*stored, *context.late_loops.alerts], key=lambda alert: (alert.raised_at, alert.key))
    return [build_alert_view(context, reader, alert) for alert in raised]


def build_alert_view(context: ServiceContext, reader: Reader, alert: Alert) -> AlertView:
    """The view of an alert, with the names, the task and the actions of this moment."""
    facts = read_facts(context, reader, alert)
    task = facts.task if facts is not None else None
    role = facts.role if facts is not None else None
    room = facts.room if facts is not None else None
    return AlertView(
        id=alert.key,
        kind=alert.kind,
        subject=alert.subject,
        subjects=alert.subjects or (alert.subject,),
        room=room.name if room is not None else None,
        role=role.name if role is not None else task.target_role if task is not None else None,
        request=task.request if task is not None else None,
        task=task.id if task is not None else None,
        text=describe(facts) if facts is not None else alert.text,
        actions=list_actions(facts) if facts is not None else (),
        next=next_command(facts) if facts is not None else CHECK_COMMAND,
        raised_at=alert.raised_at,
    )


def raise_alert(tx: Transaction, facts: AlertFacts, subjects: tuple[str, ...] = ()) -> None:
    """Raise the alert of these facts and record its event, unless it is raised already."""
    room = facts.room.id if facts.room is not None else facts.task.room if facts.task is not None else None
    key = alert_key(facts.kind, facts.subject)
    alert = Alert(key=key, room=room, text=describe(facts), subjects=subjects, raised_at=tx.now.instant)
    if alerts.add(tx, alert):
        record_alert(tx, "alert.raised", key, alert, count=len(subjects))


def resolve_alert(tx: Transaction, key: str, cause: str) -> None:
    """Resolve the alert with this key and record its event, if it is raised."""
    alert = alerts.get(tx, key)
    if alert is not None and alerts.remove(tx, key):
        record_alert(tx, "alert.resolved", cause, alert)


def record_alert(tx: Transaction, type: str, cause: str, alert: Alert, **more: object) -> None:
    """Record the event of an alert on the stream of its room, or else on the server's."""
    data: dict[str, Any] = {"id": alert.key, "kind": alert.kind, "role": alert.role, "task": alert.task}
    present = {name: value for name, value in data.items() if value is not None} | {"text": alert.text}
    tx.record_event(room_stream(alert.room) if alert.room else SERVER_STREAM, type, cause, present | more)


def record_silence(context: ServiceContext, sender: str) -> None:
    """Record that the lease of a machine, or of an agent that beats for itself, has just expired."""
    context.silent_senders.record(sender, context.clock.monotonic())


def clear_silence(context: ServiceContext, sender: str) -> None:
    """Record that a machine or agent is back, or is no longer expected."""
    context.silent_senders.clear(sender)


def watch_mass_silence(context: ServiceContext) -> None:
    """Raise the `mass_silence` alert if many leases expired together.

    Resolve it once enough of them are back, or once others are heard for as long as the longest lease.
    """
    silent = context.silent_senders
    current = silent.mass_silence
    if not silent and current is None:
        return
    ttl_s = max(context.limits.heartbeat_ttl_s, context.limits.daemon_heartbeat_ttl_s)
    silent.drop_until(context.clock.monotonic() - ttl_s)
    if current is not None:
        if sweep_policy.is_mass_silence_over(len(current.missing), current.initial):
            resolve_mass_silence(context, current, "most of them are back")
        elif sweep_policy.are_others_heard(current.since, context.leases.heard_at, ttl_s):
            resolve_mass_silence(context, current, "others are heard; those that are missing have ended")
    elif sweep_policy.is_mass_silence(len(silent), context.leases.heartbeat_senders):
        raise_mass_silence(context)


def raise_mass_silence(context: ServiceContext) -> None:
    """Raise the alert about all senders that are silent now. If that fails, the next round of the sweep retries it."""
    missing = context.silent_senders.begin_mass_silence(context.clock.monotonic())
    total = len(missing) + context.leases.heartbeat_senders
    facts = AlertFacts(kind=MASS_SILENCE, subject="server", silent=len(missing), senders=total)
    subjects = tuple(sorted(missing)[:ALERT_SUBJECTS_MAX])
    raise_it = partial(raise_alert, facts=facts, subjects=subjects)
    write_or_undo(context, raise_it, context.silent_senders.end_mass_silence)


def resolve_mass_silence(context: ServiceContext, over: MassSilence, cause: str) -> None:
    """Resolve the alert. If that fails, the next round of the sweep retries it."""
    context.silent_senders.end_mass_silence()
    restore = partial(context.silent_senders.restore_mass_silence, *over)
    write_or_undo(context, partial(resolve_alert, key=MASS_SILENCE_KEY, cause=cause), restore)


def write_or_undo(context: ServiceContext, mutation: Mutation[None], undo: Callable[[], None]) -> None:
    """Write a mutation that memory is ahead of; `undo` is called if it is not committed, or not even queued."""

    def on_written(written: "Future[None]") -> None:
        if written.cancelled() or written.exception() is not None:
            undo()

    try:
        context.store.write(mutation).add_done_callback(on_written)
    except BaseException:
        undo()
        raise


def restore_mass_silence(context: ServiceContext, reader: Reader) -> None:
    """Restore after a restart which machines and agents a raised `mass_silence` alert still waits for."""
    alert = alerts.get(reader, MASS_SILENCE_KEY)
    if alert is not None:
        now = context.clock.monotonic()
        context.silent_senders.restore_mass_silence(alert.subjects, len(alert.subjects), now)
