"""Raises, resolves and lists alerts. An alert is raised once, however often its cause is seen.

Also watches for mass silence: an alert when many machines and agents stop sending heartbeats together. It counts the
leases that expired within the longest TTL (`heartbeat_ttl_s`, `daemon_heartbeat_ttl_s`); `domain.sweep_policy` has the
thresholds. It cannot distinguish a fault of the server or its network from clients that all failed at once.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from greenroom.domain import sweep_policy
from greenroom.domain.alert import Alert
from greenroom.domain.event import SERVER_STREAM, room_stream
from greenroom.domain.principal import Principal
from greenroom.service import authorization
from greenroom.service.context import ServiceContext
from greenroom.service.state.silent_senders import MassSilence
from greenroom.store import alerts
from greenroom.store.group_commit import Mutation
from greenroom.store.transaction import Reader, Transaction

MASS_SILENCE = "mass_silence"
ALERT_SUBJECTS_MAX = 1000


def list_alerts(context: ServiceContext, reader: Reader, principal: Principal) -> list[Alert]:
    """All alerts that are raised now, oldest first. Operators only."""
    authorization.require_operator(principal)
    return alerts.list_all(reader)


def raise_alert(tx: Transaction, key: str, text: str, room: str | None = None, subjects: tuple[str, ...] = ()) -> None:
    """Raise an alert and record its event, unless an alert with this key is raised already."""
    alert = Alert(key=key, room=room, text=text, subjects=subjects, raised_at=tx.now.instant)
    if alerts.add(tx, alert):
        data = {"key": key, "text": text, "count": len(subjects)}
        tx.record_event(room_stream(room) if room else SERVER_STREAM, "alert.raised", key, data)


def resolve_alert(tx: Transaction, key: str, cause: str) -> None:
    """Resolve the alert with this key and record its event, if it is raised."""
    alert = alerts.get(tx, key)
    if alert is not None and alerts.remove(tx, key):
        data = {"key": key, "text": alert.text}
        tx.record_event(room_stream(alert.room) if alert.room else SERVER_STREAM, "alert.resolved", cause, data)


def record_silence(context: ServiceContext, sender: str) -> None:
    """Record that the lease of a machine, or of an agent that beats for itself, has just expired."""
    context.silent_senders.record(sender, context.clock.monotonic())


def clear_silence(context: ServiceContext, sender: str) -> None:
    """Record that a machine or agent is back, or is no longer expected."""
    context.silent_senders.clear(sender)


def watch_mass_silence(context: ServiceContext) -> None:
    """Raise the `mass_silence` alert if many leases expired together; resolve it once enough of them are back."""
    silent = context.silent_senders
    current = silent.mass_silence
    if not silent and current is None:
        return
    ttl_s = max(context.limits.heartbeat_ttl_s, context.limits.daemon_heartbeat_ttl_s)
    silent.drop_until(context.clock.monotonic() - ttl_s)
    if current is not None:
        if sweep_policy.is_mass_silence_over(len(current.missing), current.initial):
            resolve_mass_silence(context, current)
    elif sweep_policy.is_mass_silence(len(silent), context.leases.heartbeat_senders):
        raise_mass_silence(context)


def raise_mass_silence(context: ServiceContext) -> None:
    """Raise the alert about all senders that are silent now. If that fails, the next round of the sweep retries it."""
    missing = context.silent_senders.begin_mass_silence()
    total = len(missing) + context.leases.heartbeat_senders
    text = (
        f"{len(missing)} of {total} agents and machines stopped sending heartbeats at the same time. The "
        "cause is probably this server or its network; they reconnect by themselves once it is reachable."
    )
    subjects = tuple(sorted(missing)[:ALERT_SUBJECTS_MAX])
    raise_it = partial(raise_alert, key=MASS_SILENCE, text=text, subjects=subjects)
    write_or_undo(context, raise_it, context.silent_senders.end_mass_silence)


def resolve_mass_silence(context: ServiceContext, over: MassSilence) -> None:
    """Resolve the alert. If that fails, the next round of the sweep retries it."""
    context.silent_senders.end_mass_silence()
    restore = partial(context.silent_senders.restore_mass_silence, over.missing, over.initial)
    write_or_undo(context, partial(resolve_alert, key=MASS_SILENCE, cause="most of them are back"), restore)


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
    alert = alerts.get(reader, MASS_SILENCE)
    if alert is not None:
        context.silent_senders.restore_mass_silence(alert.subjects, len(alert.subjects))
