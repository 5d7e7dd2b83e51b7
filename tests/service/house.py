"""Drives the whole service in this process, under a moved clock and without the HTTP server."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import bindparam, func, select

from greenroom.clock import MovedClock
from greenroom.domain.caller import THE_OPERATOR, Caller
from greenroom.domain.errors import GreenroomError
from greenroom.domain.event import Event
from greenroom.domain.reliability import Reliability
from greenroom.domain.task import Task
from greenroom.entropy import SeededEntropy
from greenroom.service import (
    connecting,
    decisions,
    facts,
    machines,
    messages,
    presence,
    reshaping,
    roles,
    rooms,
    sweeping,
    tasks,
    wishing,
)
from greenroom.service.opening import open_world
from greenroom.store import log, tables
from greenroom.store.statement import Statement
from greenroom.store.transaction import Transaction
from greenroom.wire import requests
from greenroom.wire.replies import (
    ClaimedTask,
    FactsReply,
    HeartbeatReply,
    JoinReply,
    MachineHeartbeatReply,
    MachineView,
    MessageReply,
    RoleView,
    RoomView,
    Wishes,
)
from tests.service.store_factory import store_factory

T = TypeVar("T")


class House:
    """Makes the calls that a client would make, directly on the service. Errors are raised."""

    def __init__(self, limits: Reliability | None = None) -> None:
        self.clock = MovedClock()
        self.limits = limits or Reliability()
        self.entropy = SeededEntropy(7)
        self.store = store_factory.open(self.clock, self.limits)
        self.caller: Caller = THE_OPERATOR
        self.open()

    def open(self) -> None:
        """Restart the server on the same store: what was in memory is lost, what is stored remains."""
        self.world = open_world(self.store, self.clock, self.entropy, self.limits)

    def write(self, mutation: Callable[[Transaction], T | GreenroomError]) -> T:
        """Run a mutation as a route does: an error that it returns is committed with its writes, then raised."""
        result = self.store.run(mutation)
        if isinstance(result, GreenroomError):
            raise result
        return result

    def pass_time(self, seconds: float) -> None:
        """Move the clock forward and run the sweep at every interval."""
        step = self.limits.sweep_interval_s
        while seconds > 0:
            self.clock.move(min(step, seconds))
            seconds -= step
            sweeping.tick(self.world)

    def room(
        self, name: str = "r", roles: tuple[str, ...] = ("builder", "reviewer"), max_requests: int = 1
    ) -> RoomView:
        body = requests.CreateRoom(name=name, roles=list(roles), max_requests=max_requests)
        return self.write(lambda tx: rooms.create(self.world, tx, self.caller, body))

    def change(self, room: str = "r", **fields: Any) -> RoomView:
        body = requests.ChangeRoom(**fields)
        return self.write(lambda tx: reshaping.change(self.world, tx, self.caller, room, body))

    def close_room(self, room: str = "r") -> RoomView:
        return self.write(lambda tx: rooms.close(self.world, tx, self.caller, room, requests.Explain()))

    def delete(self, room: str = "r") -> None:
        self.write(lambda tx: rooms.delete(self.world, tx, self.caller, room))

    def look(self, room: str = "r") -> RoomView:
        return self.store.read(lambda reader: rooms.snapshot(self.world, reader, self.caller, room))

    def join(self, role: str, connection: str, room: str = "r", if_vacant: bool = False) -> JoinReply:
        return self.write(self.joining(role, connection, room, if_vacant))

    def joining(
        self, role: str, connection: str, room: str = "r", if_vacant: bool = False
    ) -> Callable[[Transaction], JoinReply]:
        """The mutation of a join, to be run in a batch."""
        body = requests.Join(connection_id=connection, if_vacant=if_vacant)
        return lambda tx: presence.join(self.world, tx, self.caller, room, role, body)

    def beat(self, role: str, connection: str, room: str = "r") -> HeartbeatReply:
        return presence.beat(self.world, self.caller, room, role, requests.Heartbeat(connection_id=connection))

    def leave(self, role: str, connection: str, room: str = "r", cause: str = "left") -> str:
        body = requests.Leave(connection_id=connection, cause=cause)  # type: ignore[arg-type]
        return self.write(lambda tx: presence.leave(self.world, tx, self.caller, room, role, body)).status

    def send(self, text: str = "do it", to: str | None = None, room: str = "r") -> MessageReply:
        body = requests.SendMessage(sender="user", text=text, to=to)
        return self.write(lambda tx: messages.send(self.world, tx, self.caller, room, body))

    def claim(self, role: str, connection: str, room: str = "r", hand_over: bool = False) -> ClaimedTask | None:
        return self.write(self.claiming(role, connection, room, hand_over))

    def claiming(
        self, role: str, connection: str, room: str = "r", hand_over: bool = False
    ) -> Callable[[Transaction], ClaimedTask | None]:
        """The mutation of a claim, to be run in a batch."""
        body = requests.Claim(role=role, connection_id=connection, hand_over=hand_over)
        return lambda tx: tasks.claim(self.world, tx, self.caller, room, body)

    def working(self, role: str, connection: str, room: str = "r") -> ClaimedTask:
        """Join a role, send it a message and claim the task that this opens."""
        self.join(role, connection, room)
        self.send(to=role, room=room)
        claimed = self.claim(role, connection, room)
        assert claimed is not None
        return claimed

    def working_as(self, caller: Caller, role: str, connection: str, room: str = "r") -> ClaimedTask:
        """The same, but `caller` joins and claims. The operator sends the message."""
        previous_caller, self.caller = self.caller, THE_OPERATOR
        self.send(to=role, room=room)
        self.caller = caller
        self.join(role, connection, room)
        claimed = self.claim(role, connection, room)
        assert claimed is not None
        self.caller = previous_caller
        return claimed

    def start(self, task: str, connection: str, attempt: int) -> Task:
        body = requests.OnAttempt(connection_id=connection, attempt=attempt)
        return self.write(lambda tx: tasks.start(self.world, tx, self.caller, task, body))

    def progress(self, task: str, connection: str, attempt: int, text: str = "half way") -> Task:
        body = requests.Progress(connection_id=connection, attempt=attempt, text=text)
        return self.write(lambda tx: tasks.progress(self.world, tx, self.caller, task, body))

    def complete(self, task: str, connection: str, attempt: int, text: str = "done") -> Task:
        body = requests.Complete(connection_id=connection, attempt=attempt, text=text)
        return self.write(lambda tx: tasks.complete(self.world, tx, self.caller, task, body))

    def handoff(self, task: str, connection: str, attempt: int, to: str, text: str = "your turn") -> Task:
        body = requests.Handoff(connection_id=connection, attempt=attempt, to=to, text=text)
        return self.write(lambda tx: tasks.handoff(self.world, tx, self.caller, task, body))

    def decline(self, task: str, connection: str, attempt: int, reason: str = "cannot be done") -> Task:
        body = requests.Decline(connection_id=connection, attempt=attempt, reason=reason)
        return self.write(lambda tx: tasks.decline(self.world, tx, self.caller, task, body))

    def move(self, action: Callable[..., Task], task: str, reason: str | None = None) -> Task:
        """Run a user's action on a task that takes only a reason: `decisions.cancel`, `decisions.reset`."""
        return self.write(lambda tx: action(self.world, tx, self.caller, task, requests.Explain(reason=reason)))

    def cancel(self, task: str, reason: str | None = None) -> Task:
        return self.move(decisions.cancel, task, reason)

    def reset(self, task: str, reason: str | None = None) -> Task:
        return self.move(decisions.reset, task, reason)

    def queue(self, task: str, reason: str | None = None) -> Task:
        return self.move(decisions.queue, task, reason)

    def retry(self, task: str, to: str | None = None, reason: str | None = None) -> Task:
        body = requests.Retry(to=to, reason=reason)
        return self.write(lambda tx: decisions.retry(self.world, tx, self.caller, task, body))

    def accept(self, task: str, attempt: int | None = None, reason: str | None = None) -> Task:
        body = requests.Accept(attempt=attempt, reason=reason)
        return self.write(lambda tx: decisions.accept(self.world, tx, self.caller, task, body))

    def send_back(self, task: str, to: str | None = None, reason: str | None = None) -> Task:
        body = requests.SendBack(to=to, reason=reason)  # type: ignore[arg-type]
        return self.write(lambda tx: decisions.send_back(self.world, tx, self.caller, task, body))

    def note(self, task: str, text: str = "mind the step") -> Task:
        body = requests.AddNote(text=text)
        return self.write(lambda tx: decisions.note(self.world, tx, self.caller, task, body))

    def backlog(self, text: str = "do it one day", to: str | None = None, room: str = "r") -> Task:
        body = requests.AddToBacklog(text=text, to=to)
        return self.write(lambda tx: decisions.add_to_backlog(self.world, tx, self.caller, room, body))

    def task(self, task: str) -> Task:
        return self.store.read(lambda reader: tasks.show(self.world, reader, self.caller, task))

    def register(self, machine: str = "m1") -> MachineView:
        body = requests.PutMachine(name=machine, harnesses=["shell"])
        return self.write(lambda tx: machines.register(self.world, tx, self.caller, machine, body))

    def machine(self, machine: str = "m1") -> MachineView:
        return self.store.read(lambda reader: machines.show(self.world, reader, self.caller, machine))

    def delete_machine(self, machine: str = "m1") -> None:
        self.write(lambda tx: machines.delete(self.world, tx, self.caller, machine))

    def wish(self, role: str, machine: str | None = "m1", desired: str = "running", room: str = "r") -> RoleView:
        kind = "custom" if machine is None else "remote"
        body = requests.SetAgent(
            kind=kind,  # type: ignore[arg-type]
            machine=machine,
            harness=None if machine is None else "shell",
            desired=desired,  # type: ignore[arg-type]
        )
        return self.write(lambda tx: roles.wish(self.world, tx, self.caller, room, role, body))

    def wishes(self, machine: str = "m1") -> Wishes:
        return self.store.read(lambda reader: wishing.wishes(self.world, reader, self.caller, machine))

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
        reply = connecting.beat(self.world, self.caller, machine, body)
        if reply is None:
            return self.write(lambda tx: connecting.reconnect(self.world, tx, self.caller, machine, body))
        return reply

    def report(self, *reports: requests.Fact, machine: str = "m1", incarnation: str = "i1") -> FactsReply:
        body = requests.PostFacts(incarnation=incarnation, facts=list(reports))
        return self.write(lambda tx: facts.take(self.world, tx, self.caller, machine, body))

    def count(self, table: str, column: str, value: str) -> int:
        """Count the rows of a table that have `value` in `column`."""
        counted_table = tables.metadata.tables[table]
        where = counted_table.c[column] == bindparam("value")
        statement = Statement(select(func.count()).select_from(counted_table).where(where))
        row = self.store.read(lambda reader: reader.row(statement, value=value))
        return int(row[0]) if row else 0

    def events(self) -> list[Event]:
        return self.store.read(lambda reader: log.all_after(reader, 0, 1_000_000))

    def event_types(self) -> list[str]:
        return [event.type for event in self.events()]
