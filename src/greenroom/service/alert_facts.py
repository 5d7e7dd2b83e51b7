"""Reads the facts about the cause of an alert from the store, as they are now."""

from greenroom.domain.alert import (
    LATE_RESULT,
    MACHINE_KINDS,
    MACHINE_NOT_CONNECTED,
    ROLE_KINDS,
    TASK_KINDS,
    UNATTENDED,
    Alert,
)
from greenroom.domain.machine import Machine
from greenroom.domain.role import RUNNING, Role
from greenroom.domain.task import Task
from greenroom.service.alert_content import AlertFacts
from greenroom.service.context import ServiceContext
from greenroom.store import machines, participants, rooms, task_attempts, tasks
from greenroom.store.transaction import Reader


def read_facts(context: ServiceContext, reader: Reader, alert: Alert) -> AlertFacts | None:
    """The facts about an alert. None if they are over, or were those of one moment: then its stored text applies."""
    if alert.kind in TASK_KINDS:
        return read_task_facts(reader, alert)
    if alert.kind in ROLE_KINDS:
        return read_role_facts(context, reader, alert.kind, alert.subject)
    machine = machines.get(reader, alert.subject) if alert.kind in MACHINE_KINDS else None
    if machine is None:
        return None
    waiting = list_waiting_roles(reader, machine.id) if alert.kind == MACHINE_NOT_CONNECTED else ()
    return AlertFacts(kind=alert.kind, subject=alert.subject, machine=machine, waiting_roles=waiting)


def read_task_facts(reader: Reader, alert: Alert) -> AlertFacts | None:
    """The facts about an alert whose subject is a task."""
    task = tasks.get(reader, alert.subject)
    if task is None:
        return None
    late_results = task_attempts.list_late_results(reader, task.id) if alert.kind == LATE_RESULT else ()
    room = rooms.get(reader, task.room)
    return AlertFacts(kind=alert.kind, subject=alert.subject, room=room, task=task, late_results=late_results)


def read_role_facts(context: ServiceContext, reader: Reader, kind: str, key: str) -> AlertFacts | None:
    """The facts about an alert whose subject is a role, given by the key of `role_key`."""
    room_id, _, name = key.partition("/")
    room, role = rooms.get(reader, room_id), rooms.get_role(reader, room_id, name)
    task = tasks.get_oldest_pending(reader, room_id, name)
    if room is None or role is None or (task is None and kind == UNATTENDED):
        return None
    machine = machines.get(reader, role.machine) if role.machine is not None else None
    return AlertFacts(
        kind=kind,
        subject=key,
        room=room,
        role=role,
        task=task,
        machine=machine,
        pending_timeout_s=context.limits.task_pending_timeout_s,
    )


def list_waiting_roles(reader: Reader, machine: str) -> tuple[str, ...]:
    """The roles (as ROOM/ROLE) whose pending task waits until a machine runs their agent. They are unattended."""
    stored = machines.get(reader, machine)
    waiting = []
    for role in rooms.list_roles_on_machine(reader, machine):
        room = rooms.get(reader, role.room)
        if room is not None and waits_for_machine(role, stored) and find_waiting_task(reader, role.room, role.name):
            waiting.append(f"{room.name}/{role.name}")
    return tuple(sorted(waiting))


def waits_for_machine(role: Role, machine: Machine | None) -> bool:
    """Whether a role's agent should run on a machine that is not connected, and nothing else holds it."""
    away = machine is None or not machine.daemon_connected
    return role.is_run_by_daemon and role.desired == RUNNING and not role.needs_user and away


def find_waiting_task(reader: Reader, room: str, role: str) -> Task | None:
    """The oldest pending task of a role in which no participant is present."""
    task = tasks.get_oldest_pending(reader, room, role)
    return task if task is not None and participants.get_present(reader, room, role) is None else None
