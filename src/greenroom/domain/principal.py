"""Defines the principal of a request, and what each scope may access."""

import msgspec

OPERATOR = "operator"
MACHINE = "machine"
AGENT = "agent"
ATTEMPT = "attempt"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """What a token speaks for: the operator, a machine, the agent of one role, or one attempt at one task."""

    scope: str
    machine: str | None = None
    room: str | None = None
    role: str | None = None
    task: str | None = None
    attempt: int | None = None
    serial: int = 0
    """How often the machine or role was deleted before the token was made."""

    @property
    def is_operator(self) -> bool:
        return self.scope == OPERATOR

    @property
    def subject(self) -> str:
        """The name in the audit log: `operator`, `machine:m1`, `agent:room_x/builder`, `attempt:task_x#2`."""
        if self.scope == MACHINE:
            return f"machine:{self.machine}"
        if self.scope == AGENT:
            return f"agent:{self.room}/{self.role}"
        if self.scope == ATTEMPT:
            return f"attempt:{self.task}#{self.attempt}"
        return self.scope


OPERATOR_PRINCIPAL = Principal(scope=OPERATOR)


def may_participate(caller: Principal, room: str, role: str, machine: str | None) -> bool:
    """Return whether the caller may join, beat, claim and leave in the role, whose agent spec names `machine`."""
    if caller.scope == MACHINE:
        return machine is not None and caller.machine == machine
    if caller.scope == AGENT:
        return caller.room == room and caller.role == role
    return caller.is_operator


def may_work_on(caller: Principal, room: str, role: str, machine: str | None, task: str, attempt: int) -> bool:
    """Return whether the caller may act for that attempt at that task; `role` is the task's target role."""
    if caller.scope == ATTEMPT:
        return caller.task == task and caller.attempt == attempt
    return may_participate(caller, room, role, machine)


def may_act_as_machine(caller: Principal, machine: str) -> bool:
    """Return whether the caller may act as that machine."""
    return caller.is_operator or (caller.scope == MACHINE and caller.machine == machine)


def may_read(caller: Principal, room: str, machines: frozenset[str]) -> bool:
    """Return whether the caller may read a room; `machines` are those that its roles' agent specs name."""
    if caller.scope == MACHINE:
        return caller.machine in machines
    return caller.is_operator or caller.room == room
