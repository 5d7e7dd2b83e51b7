"""Raises, resolves and lists alerts. An alert is raised once, however often its cause is seen.

Also watches for mass silence: an alert when many machines and agents stop sending heartbeats together. It counts the
leases that expired within the longest TTL (`heartbeat_ttl_s`, `daemon_heartbeat_ttl_s`); `domain.sweep_policy` has the
thresholds. It cannot distinguish a fault of the server or its network from clients that all failed at once.
"""

from functools import partial

from greenroom.domain import sweep_policy
from greenroom.domain.alert import Alert
from greenroom.domain.event import SERVER_STREAM, room_stream
from greenroom.domain.principal import Principal
from greenroom.service import authorization
from greenroom.service.context import ServiceContext
from greenroom.store import alerts
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
    context.sweep.silent_since[sender] = context.clock.monotonic()


def clear_silence(context: ServiceContext, sender: str) -> None:
    """Record that a machine or agent is back, or is no longer expected."""
    context.sweep.silent_since.pop(sender, None)
    context.sweep.mass_silence_missing.discard(sender)


def watch_mass_silence(context: ServiceContext) -> None:
    """Raise the `mass_silence` alert if many leases expired together; resolve it once enough of them are back."""
    healer = context.sweep
    if not healer.silent_since and not healer.mass_silence_initial:
        return
    now = context.clock.monotonic()
    ttl_s = max(context.limits.heartbeat_ttl_s, context.limits.daemon_heartbeat_ttl_s)
    for sender, since in list(healer.silent_since.items()):
        if now - since > ttl_s:
            healer.silent_since.pop(sender, None)
    if healer.mass_silence_initial:
        if sweep_policy.is_mass_silence_over(len(healer.mass_silence_missing), healer.mass_silence_initial):
            healer.mass_silence_initial = 0
            context.store.write(partial(resolve_alert, key=MASS_SILENCE, cause="most of them are back"))
    elif sweep_policy.is_mass_silence(len(healer.silent_since), context.leases.heartbeat_senders):
        healer.mass_silence_missing = set(healer.silent_since)
        healer.mass_silence_initial = len(healer.mass_silence_missing)
        total = len(healer.mass_silence_missing) + context.leases.heartbeat_senders
        text = (
            f"{len(healer.mass_silence_missing)} of {total} agents and machines stopped sending heartbeats at the same "
            f"time. The "
            "cause is probably this server or its network; they reconnect by themselves once it is reachable."
        )
        subjects = tuple(sorted(healer.mass_silence_missing)[:ALERT_SUBJECTS_MAX])
        context.store.write(partial(raise_alert, key=MASS_SILENCE, text=text, subjects=subjects))


def restore_mass_silence(context: ServiceContext, reader: Reader) -> None:
    """Restore after a restart which machines and agents a raised `mass_silence` alert still waits for."""
    alert = alerts.get(reader, MASS_SILENCE)
    if alert is not None:
        context.sweep.mass_silence_missing = set(alert.subjects)
        context.sweep.mass_silence_initial = len(alert.subjects)
