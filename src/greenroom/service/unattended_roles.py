"""Raises and resolves the alerts about roles that have a pending task and no participant. It starts no agent.

Each such role is covered by one alert. If its agent is crash-looping or paused until a user acts, that alert says so
already. If its machine is not connected, `machine_not_connected` covers all roles that wait for that machine. Otherwise
the role has an `unattended` alert of its own.

`state.unattended_since` finds such roles in memory; each is checked in the store before an alert is raised or resolved.
Option: `task_pending_timeout_s`, which begins again after a restart of the server, and when what covered a role is over
(its machine is back, its agent was restarted).
"""

from greenroom.domain.alert import MACHINE_NOT_CONNECTED, UNATTENDED, alert_key
from greenroom.domain.role import RUNNING
from greenroom.service import alerts
from greenroom.service.alert_content import AlertFacts
from greenroom.service.alert_facts import find_waiting_task, list_waiting_roles, read_role_facts, waits_for_machine
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.store import alerts as stored_alerts
from greenroom.store import machines, participants, rooms, tasks
from greenroom.store.transaction import Reader, Transaction


def raise_unattended_alert(context: ServiceContext, tx: Transaction, key: str) -> None:
    """Raise the alert that covers a role, if a task still waits there and no participant is present."""
    facts = read_waiting_role(context, tx, key)
    if facts is None:
        record_resolved_after_commit(context, tx, key)
        return
    kind = decide_kind(facts)
    if kind == UNATTENDED:
        alerts.raise_alert(tx, facts)
    elif kind == MACHINE_NOT_CONNECTED:
        raise_machine_alert(tx, facts)
    record_alert_after_commit(context, tx, key, facts)


def update_unattended_alert(context: ServiceContext, tx: Transaction, key: str) -> None:
    """Resolve a role's own alert if a participant is present, no task is pending, or another alert covers the role.

    The wait of a role that its former alert no longer covers begins again.
    """
    own_key, facts = alert_key(UNATTENDED, key), read_waiting_role(context, tx, key)
    if facts is None:
        room, _, role = key.partition("/")
        attended = participants.get_present(tx, room, role) is not None
        alerts.resolve_alert(tx, own_key, "an agent is present" if attended else "no task is pending any more")
        record_resolved_after_commit(context, tx, key)
        return
    kind = decide_kind(facts)
    if kind == UNATTENDED:
        if stored_alerts.get(tx, own_key) is None:
            record_resolved_after_commit(context, tx, key)
            return
    elif kind == MACHINE_NOT_CONNECTED:
        alerts.resolve_alert(tx, own_key, "its machine is not connected")
        raise_machine_alert(tx, facts)
    else:
        alerts.resolve_alert(tx, own_key, f"its agent is {kind}")
    record_alert_after_commit(context, tx, key, facts)


def resolve_machine_alerts(tx: Transaction) -> None:
    """Resolve the alerts of machines that are connected again, or for which no task waits any more."""
    for alert in stored_alerts.list_of_kind(tx, MACHINE_NOT_CONNECTED):
        machine = machines.get(tx, alert.subject)
        if machine is not None and machine.daemon_connected:
            alerts.resolve_alert(tx, alert.key, f"machine {machine.name} is connected")
        elif machine is None or not list_waiting_roles(tx, machine.id):
            alerts.resolve_alert(tx, alert.key, "no task waits for it any more")


def read_waiting_role(context: ServiceContext, reader: Reader, key: str) -> AlertFacts | None:
    """The facts about a role in which a task is pending and no participant is present; None for any other role."""
    room, _, role = key.partition("/")
    if find_waiting_task(reader, room, role) is None:
        return None
    return read_role_facts(context, reader, UNATTENDED, key)


def decide_kind(facts: AlertFacts) -> str:
    """The kind of the one alert that covers a role in which a task waits. The first cause that applies decides."""
    role = facts.role
    assert role is not None
    if role.hold is not None and role.needs_user and role.is_run_by_daemon and role.desired == RUNNING:
        return role.hold
    return MACHINE_NOT_CONNECTED if waits_for_machine(role, facts.machine) else UNATTENDED


def raise_machine_alert(tx: Transaction, facts: AlertFacts) -> None:
    """Raise the alert of the machine that a role waits for."""
    assert facts.machine is not None
    machine = facts.machine
    waiting = list_waiting_roles(tx, machine.id)
    alerts.raise_alert(
        tx, AlertFacts(kind=MACHINE_NOT_CONNECTED, subject=machine.id, machine=machine, waiting_roles=waiting)
    )


def record_alert_after_commit(context: ServiceContext, tx: Transaction, key: str, facts: AlertFacts) -> None:
    """After the commit, record in memory that an alert covers the role, and which machine the role is assigned to."""
    machine, now = facts.machine.id if facts.machine is not None else None, tx.now.monotonic
    tx.on_commit(lambda: context.unattended.record_alert(key, machine, context.leases.participants, now))


def record_resolved_after_commit(context: ServiceContext, tx: Transaction, key: str) -> None:
    """After the commit, record in memory that no alert covers the role."""
    now = tx.now.monotonic
    tx.on_commit(lambda: context.unattended.record_resolved(key, context.leases.participants, now))


def restore_unattended(context: ServiceContext, reader: Reader) -> None:
    """Restore the pending tasks and the roles that alerts cover after a restart. Each wait begins again."""
    pending = [(role_key(task.room, task.target_role), task.id) for task in tasks.list_all_pending(reader)]
    covered: dict[str, str | None] = {}
    for alert in stored_alerts.list_of_kind(reader, UNATTENDED):
        room, _, name = alert.subject.partition("/")
        role = rooms.get_role(reader, room, name)
        covered[alert.subject] = role.machine if role is not None else None
    for alert in stored_alerts.list_of_kind(reader, MACHINE_NOT_CONNECTED):
        for role in rooms.list_roles_on_machine(reader, alert.subject):
            covered[role_key(role.room, role.name)] = alert.subject
    context.unattended.restore(pending, covered, context.leases.participants, context.clock.monotonic())
