"""Raises and resolves the alert for a role that has a pending task and no participant. It starts no agent.

`state.unattended_since` finds such roles in memory; each is checked in the store before its alert is raised or
resolved. Option: `task_pending_timeout_s`, which begins again after a restart of the server.
"""

from greenroom.service import alerts
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.store import alerts as stored_alerts
from greenroom.store import participants, rooms, tasks
from greenroom.store.transaction import Reader, Transaction

ALERT_PREFIX = "unattended:"


def raise_unattended_alert(context: ServiceContext, tx: Transaction, key: str) -> None:
    """Raise the alert for a role, if a task still waits there and no participant is present."""
    room_id, _, role = key.partition("/")
    room = rooms.get(tx, room_id)
    task = tasks.get_oldest_pending(tx, room_id, role)
    if room is None or task is None or has_participant(tx, room_id, role):
        record_resolved_after_commit(context, tx, key)
        return
    text = (
        f"Task {task.id} for {role} in room {room.name} has been pending for more than "
        f"{context.limits.task_pending_timeout_s:g} s, and no agent is present in the role."
    )
    alerts.raise_alert(tx, ALERT_PREFIX + key, text, room_id)
    now = tx.now.monotonic
    tx.on_commit(lambda: context.unattended.record_alert(key, context.leases.participants, now))


def resolve_unattended_alert(context: ServiceContext, tx: Transaction, key: str) -> None:
    """Resolve the alert for a role, if a participant is present there or no task is pending any more."""
    room, _, role = key.partition("/")
    attended = has_participant(tx, room, role)
    if attended or tasks.get_oldest_pending(tx, room, role) is None:
        alerts.resolve_alert(
            tx, ALERT_PREFIX + key, "an agent is present" if attended else "no task is pending any more"
        )
        record_resolved_after_commit(context, tx, key)


def has_participant(reader: Reader, room: str, role: str) -> bool:
    """Whether a participant is present in the role."""
    return participants.get_present(reader, room, role) is not None


def record_resolved_after_commit(context: ServiceContext, tx: Transaction, key: str) -> None:
    """After the commit, record in memory that no alert is raised for the role."""
    now = tx.now.monotonic
    tx.on_commit(lambda: context.unattended.record_resolved(key, context.leases.participants, now))


def restore_unattended(context: ServiceContext, reader: Reader) -> None:
    """Restore the pending tasks and the raised alerts after a restart. Each wait begins again."""
    pending = [(role_key(task.room, task.target_role), task.id) for task in tasks.list_all_pending(reader)]
    alerted = [
        alert.key.removeprefix(ALERT_PREFIX)
        for alert in stored_alerts.list_all(reader)
        if alert.key.startswith(ALERT_PREFIX)
    ]
    context.unattended.restore(pending, alerted, context.leases.participants, context.clock.monotonic())
