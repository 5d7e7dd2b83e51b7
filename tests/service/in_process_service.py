"""Drives the whole service in this process, under a moved clock and without the HTTP server."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import bindparam, func, select

from greenroom.domain.errors import GreenroomError
from greenroom.domain.event import Event
from greenroom.domain.limits import Limits
from greenroom.domain.principal import OPERATOR_PRINCIPAL, Principal
from greenroom.domain.task import Task
from greenroom.service import (
    agent_reports,
    agent_specs,
    alerts,
    machine_heartbeats,
    machines,
    messages,
    participants,
    roles,
    rooms,
    sweeper,
    task_admin,
    tasks,
)
from greenroom.service.startup import start_context
from greenroom.store import event_log, tables
from greenroom.store.compiled_sql import Statement
from greenroom.store.transaction import Transaction
from greenroom.testing import MovedClock, SeededEntropy
from greenroom.wire import requests
from greenroom.wire.replies import (
    AlertView,
    Assignments,
    ClaimedTask,
    HeartbeatReply,
    JoinReply,
    MachineHeartbeatReply,
    MachineView,
    MessageReply,
    ReportsReply,
    RoleView,
    RoomView,
)
from tests.service.store_factory import store_factory

T = TypeVar("T")


class InProcessService:
    """Makes the calls that a client would make, directly on the service. Errors are raised."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.clock = MovedClock()
        self.limits = limits or Limits()
        self.entropy = SeededEntropy(7)
        self.store = store_factory.open(self.clock, self.limits)
        self.principal: Principal = OPERATOR_PRINCIPAL
        self.restart_server()

    def restart_server(self) -> None:
        """Restart the server on the same store: what was in memory is lost, what is stored remains."""
        self.context = start_context(self.store, self.clock, self.entropy, self.limits)

    def run_mutation(self, mutation: Callable[[Transaction], T | GreenroomError]) -> T:
        """Run a mutation as a route does: an error that it returns is committed with its writes, then raised."""
        result = self.store.run(mutation)
        if isinstance(result, GreenroomError):
            raise result
        return result

    def pass_time(self, seconds: float) -> None:
        """Move the clock forward and run the sweep at every interval."""
        step = self.limits.sweep_interval_s
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            sweeper.tick(self.context)

    def create_room(
        self, name: str = "r", roles: tuple[str, ...] = ("builder", "reviewer"), max_requests: int = 1
    ) -> RoomView:
        body = requests.CreateRoom(name=name, roles=list(roles), max_requests=max_requests)
        return self.run_mutation(lambda tx: rooms.create(self.context, tx, self.principal, body))

    def change_room(self, room: str = "r", **fields: Any) -> RoomView:
        body = requests.ChangeRoom(**fields)
        return self.run_mutation(lambda tx: rooms.change_room(self.context, tx, self.principal, room, body))

    def close_room(self, room: str = "r") -> RoomView:
        return self.run_mutation(lambda tx: rooms.close(self.context, tx, self.principal, room, requests.GiveReason()))

    def delete_room(self, room: str = "r") -> None:
        self.run_mutation(lambda tx: rooms.delete(self.context, tx, self.principal, room))

    def show_room(self, room: str = "r") -> RoomView:
        return self.store.read(lambda reader: rooms.get_room_view(self.context, reader, self.principal, room))

    def join(self, role: str, connection: str, room: str = "r", if_vacant: bool = False) -> JoinReply:
        return self.run_mutation(self.join_mutation(role, connection, room, if_vacant))

    def join_mutation(
        self, role: str, connection: str, room: str = "r", if_vacant: bool = False
    ) -> Callable[[Transaction], JoinReply]:
        """The mutation of a join, to be run in a batch."""
        body = requests.Join(connection_id=connection, if_vacant=if_vacant)
        return lambda tx: participants.join(self.context, tx, self.principal, room, role, body)

    def beat(self, role: str, connection: str, room: str = "r", pausing: bool = False) -> HeartbeatReply:
        body = requests.HeartbeatBody(connection_id=connection, pausing=pausing)
        return participants.renew_participant(self.context, self.principal, room, role, body)

    def leave(self, role: str, connection: str, room: str = "r", cause: str = "left") -> str:
        body = requests.Leave(connection_id=connection, cause=cause)  # type: ignore[arg-type]
        return self.run_mutation(
            lambda tx: participants.leave(self.context, tx, self.principal, room, role, body)
        ).status

    def send_message(self, text: str = "do it", to: str | None = None, room: str = "r") -> MessageReply:
        body = requests.SendMessage(sender="user", text=text, to=to)
        return self.run_mutation(lambda tx: messages.send(self.context, tx, self.principal, room, body))

    def claim(self, role: str, connection: str, room: str = "r", detached: bool = False) -> ClaimedTask | None:
        return self.run_mutation(self.claim_mutation(role, connection, room, detached))

    def claim_mutation(
        self, role: str, connection: str, room: str = "r", detached: bool = False
    ) -> Callable[[Transaction], ClaimedTask | None]:
        """The mutation of a claim, to be run in a batch."""
        body = requests.ClaimBody(role=role, connection_id=connection, detached=detached)
        return lambda tx: tasks.claim(self.context, tx, self.principal, room, body)

    def join_and_claim(self, role: str, connection: str, room: str = "r") -> ClaimedTask:
        """Join a role, send it a message and claim the task that this opens."""
        self.join(role, connection, room)
        self.send_message(to=role, room=room)
        claimed = self.claim(role, connection, room)
        assert claimed is not None
        return claimed

    def join_and_claim_as(self, principal: Principal, role: str, connection: str, room: str = "r") -> ClaimedTask:
        """The same, but `principal` joins and claims. The operator sends the message."""
        previous_caller, self.principal = self.principal, OPERATOR_PRINCIPAL
        self.send_message(to=role, room=room)
        self.principal = principal
        self.join(role, connection, room)
        claimed = self.claim(role, connection, room)
        assert claimed is not None
        self.principal = previous_caller
        return claimed

    def start(self, task: str, connection: str, attempt: int) -> Task:
        body = requests.AttemptRef(connection_id=connection, attempt=attempt)
        return self.run_mutation(lambda tx: tasks.start(self.context, tx, self.principal, task, body))

    def progress(self, task: str, connection: str, attempt: int, text: str = "half way") -> Task:
        body = requests.Progress(connection_id=connection, attempt=attempt, text=text)
        return self.run_mutation(lambda tx: tasks.progress(self.context, tx, self.principal, task, body))

    def complete(self, task: str, connection: str, attempt: int, text: str = "done") -> Task:
        body = requests.Complete(connection_id=connection, attempt=attempt, text=text)
        return self.run_mutation(lambda tx: tasks.complete(self.context, tx, self.principal, task, body))

    def handoff(self, task: str, connection: str, attempt: int, to: str, text: str = "your turn") -> Task:
        body = requests.Handoff(connection_id=connection, attempt=attempt, to=to, text=text)
        return self.run_mutation(lambda tx: tasks.handoff(self.context, tx, self.principal, task, body))

    def decline(self, task: str, connection: str, attempt: int, reason: str = "cannot be done") -> Task:
        body = requests.Decline(connection_id=connection, attempt=attempt, reason=reason)
        return self.run_mutation(lambda tx: tasks.decline(self.context, tx, self.principal, task, body))

    def act_on_task(self, action: Callable[..., Task], task: str, reason: str | None = None) -> Task:
        """Run a user's action on a task that takes only a reason: `task_admin.cancel`, `task_admin.reset`."""
        return self.run_mutation(
            lambda tx: action(self.context, tx, self.principal, task, requests.GiveReason(reason=reason))
        )

    def cancel(self, task: str, reason: str | None = None) -> Task:
        return self.act_on_task(task_admin.cancel, task, reason)

    def reset(self, task: str, reason: str | None = None) -> Task:
        return self.act_on_task(task_admin.reset, task, reason)

    def queue(self, task: str, reason: str | None = None) -> Task:
        return self.act_on_task(task_admin.queue_task, task, reason)

    def retry(self, task: str, to: str | None = None, reason: str | None = None) -> Task:
        body = requests.Retry(to=to, reason=reason)
        return self.run_mutation(lambda tx: task_admin.retry(self.context, tx, self.principal, task, body))

    def accept(self, task: str, attempt: int | None = None, reason: str | None = None) -> Task:
        body = requests.Accept(attempt=attempt, reason=reason)
        return self.run_mutation(lambda tx: task_admin.accept(self.context, tx, self.principal, task, body))

    def send_back(self, task: str, to: str | None = None, reason: str | None = None) -> Task:
        body = requests.SendBack(to=to, reason=reason)  # type: ignore[arg-type]
        return self.run_mutation(lambda tx: task_admin.send_back(self.context, tx, self.principal, task, body))

    def add_note(self, task: str, text: str = "mind the step") -> Task:
        body = requests.AddNote(text=text)
        return self.run_mutation(lambda tx: task_admin.add_note(self.context, tx, self.principal, task, body))

    def add_to_backlog(self, text: str = "do it one day", to: str | None = None, room: str = "r") -> Task:
        body = requests.AddToBacklog(text=text, to=to)
        return self.run_mutation(lambda tx: task_admin.add_to_backlog(self.context, tx, self.principal, room, body))

    def show_task(self, task: str) -> Task:
        return self.store.read(lambda reader: tasks.show(self.context, reader, self.principal, task))

    def register_machine(self, machine: str = "m1") -> MachineView:
        body = requests.PutMachine(name=machine, harnesses=["shell"])
        return self.run_mutation(lambda tx: machines.register(self.context, tx, self.principal, machine, body))

    def show_machine(self, machine: str = "m1") -> MachineView:
        return self.store.read(lambda reader: machines.get_machine_view(self.context, reader, self.principal, machine))

    def delete_machine(self, machine: str = "m1") -> None:
        self.run_mutation(lambda tx: machines.delete(self.context, tx, self.principal, machine))

    def set_agent_spec(
        self, role: str, machine: str | None = "m1", desired: str = "running", room: str = "r"
    ) -> RoleView:
        kind = "custom" if machine is None else "remote"
        body = requests.SetAgentSpec(
            kind=kind,  # type: ignore[arg-type]
            machine=machine,
            harness=None if machine is None else "shell",
            desired=desired,  # type: ignore[arg-type]
        )
        return self.run_mutation(lambda tx: roles.set_agent_spec(self.context, tx, self.principal, room, role, body))

    def list_assignments(self, machine: str = "m1") -> Assignments:
        return self.store.read(
            lambda reader: agent_specs.list_assignments(self.context, reader, self.principal, machine)
        )

    def beat_machine(
        self,
        *agents: tuple[str, str],
        machine: str = "m1",
        incarnation: str = "i1",
        room: str = "r",
        leaving: bool = False,
    ) -> MachineHeartbeatReply:
        held = [requests.HeldAgent(room=room, role=role, connection_id=connection) for role, connection in agents]
        body = requests.MachineHeartbeat(incarnation=incarnation, agents=held, leaving=leaving)
        reply = machine_heartbeats.renew_machine(self.context, self.principal, machine, body)
        if reply is None:
            return self.run_mutation(
                lambda tx: machine_heartbeats.process_heartbeat(self.context, tx, self.principal, machine, body)
            )
        return reply

    def send_reports(
        self, *reports: requests.AgentReport, machine: str = "m1", incarnation: str = "i1"
    ) -> ReportsReply:
        body = requests.ReportBatch(incarnation=incarnation, reports=list(reports))
        return self.run_mutation(
            lambda tx: agent_reports.accept_reports(self.context, tx, self.principal, machine, body)
        )

    def count_rows(self, table: str, column: str, value: str) -> int:
        """Count the rows of a table that have `value` in `column`."""
        counted_table = tables.metadata.tables[table]
        where = counted_table.c[column] == bindparam("value")
        statement = Statement(select(func.count()).select_from(counted_table).where(where))
        row = self.store.read(lambda reader: reader.row(statement, value=value))
        return int(row[0]) if row else 0

    def list_alerts(self) -> list[AlertView]:
        return self.store.read(lambda reader: alerts.list_alerts(self.context, reader, self.principal))

    def events(self) -> list[Event]:
        return self.store.read(lambda reader: event_log.list_all_after(reader, 0, 1_000_000))

    def event_types(self) -> list[str]:
        return [event.type for event in self.events()]
