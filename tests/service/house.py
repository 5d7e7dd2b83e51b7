"""A whole world in memory, under a moved clock: the service as it is, with no door in front and no disk behind."""

from collections.abc import Callable
from typing import TypeVar

from greenroom.clock import MovedClock
from greenroom.domain.caller import THE_OPERATOR, Caller
from greenroom.domain.errors import GreenroomError
from greenroom.domain.event import Event
from greenroom.domain.reliability import Reliability
from greenroom.domain.task import Task
from greenroom.entropy import SeededEntropy
from greenroom.service import connecting, facts, machines, messages, presence, roles, rooms, sweeping, tasks
from greenroom.service.opening import open_world
from greenroom.store import log
from greenroom.store.store import Store
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
)

T = TypeVar("T")


class House:
    """Calls as a client would make them, answered at once. Refusals are raised."""

    def __init__(self, limits: Reliability | None = None) -> None:
        self.clock = MovedClock()
        self.limits = limits or Reliability()
        self.entropy = SeededEntropy(7)
        self.store = Store.open_memory(self.clock, limits=self.limits)
        self.caller: Caller = THE_OPERATOR
        self.open()

    def open(self) -> None:
        """Start the server anew on the same store: memory is gone, the disk is not."""
        self.world = open_world(self.store, self.clock, self.entropy, self.limits)

    def write(self, mutation: Callable[[Transaction], T | GreenroomError]) -> T:
        """Run a mutation as a door does: an error that it returns was kept, and is raised now."""
        result = self.store.run(mutation)
        if isinstance(result, GreenroomError):
            raise result
        return result

    def pass_time(self, seconds: float) -> None:
        """Let time pass with the sweep running all along."""
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

    def look(self, room: str = "r") -> RoomView:
        return self.store.read(lambda reader: rooms.snapshot(self.world, reader, self.caller, room))

    def join(self, role: str, connection: str, room: str = "r", if_vacant: bool = False) -> JoinReply:
        body = requests.Join(connection_id=connection, if_vacant=if_vacant)
        return self.write(lambda tx: presence.join(self.world, tx, self.caller, room, role, body))

    def beat(self, role: str, connection: str, room: str = "r") -> HeartbeatReply:
        return presence.beat(self.world, self.caller, room, role, requests.Heartbeat(connection_id=connection))

    def leave(self, role: str, connection: str, room: str = "r", cause: str = "left") -> str:
        body = requests.Leave(connection_id=connection, cause=cause)  # type: ignore[arg-type]
        return self.write(lambda tx: presence.leave(self.world, tx, self.caller, room, role, body)).status

    def send(self, text: str = "do it", to: str | None = None, room: str = "r") -> MessageReply:
        body = requests.SendMessage(sender="user", text=text, to=to)
        return self.write(lambda tx: messages.send(self.world, tx, self.caller, room, body))

    def claim(self, role: str, connection: str, room: str = "r", hand_over: bool = False) -> ClaimedTask | None:
        body = requests.Claim(role=role, connection_id=connection, hand_over=hand_over)
        return self.write(lambda tx: tasks.claim(self.world, tx, self.caller, room, body))

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

    def move(self, how: Callable[..., Task], task: str, reason: str | None = None) -> Task:
        """What people do to a task: `tasks.cancel`, `tasks.retry`, `tasks.reset`."""
        return self.write(lambda tx: how(self.world, tx, self.caller, task, requests.Explain(reason=reason)))

    def task(self, task: str) -> Task:
        return self.store.read(lambda reader: tasks.show(self.world, reader, self.caller, task))

    def register(self, machine: str = "m1") -> MachineView:
        body = requests.PutMachine(name=machine, harnesses=["shell"])
        return self.write(lambda tx: machines.register(self.world, tx, self.caller, machine, body))

    def machine(self, machine: str = "m1") -> MachineView:
        return self.store.read(lambda reader: machines.show(self.world, reader, self.caller, machine))

    def wish(self, role: str, machine: str | None = "m1", desired: str = "running", room: str = "r") -> RoleView:
        kind = "custom" if machine is None else "remote"
        body = requests.SetAgent(
            kind=kind,  # type: ignore[arg-type]
            machine=machine,
            harness=None if machine is None else "shell",
            desired=desired,  # type: ignore[arg-type]
        )
        return self.write(lambda tx: roles.wish(self.world, tx, self.caller, room, role, body))

    def beat_machine(
        self, *agents: tuple[str, str], machine: str = "m1", incarnation: str = "i1", room: str = "r"
    ) -> MachineHeartbeatReply:
        held = [requests.HeldAgent(room=room, role=role, connection_id=connection) for role, connection in agents]
        body = requests.MachineHeartbeat(incarnation=incarnation, agents=held)
        reply = connecting.beat(self.world, self.caller, machine, body)
        if reply is None:
            return self.write(lambda tx: connecting.reconnect(self.world, tx, self.caller, machine, body))
        return reply

    def report(self, *given: requests.Fact, machine: str = "m1", incarnation: str = "i1") -> FactsReply:
        body = requests.PostFacts(incarnation=incarnation, facts=list(given))
        return self.write(lambda tx: facts.take(self.world, tx, self.caller, machine, body))

    def events(self) -> list[Event]:
        return self.store.read(lambda reader: log.all_after(reader, 0, 1_000_000))

    def event_types(self) -> list[str]:
        return [event.type for event in self.events()]
