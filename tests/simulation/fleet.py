"""Hundreds of daemons and their agents before one server, as events under a moved clock. Must not judge what it counts.

The server is the service as it is. A daemon's beat is the product's own, from its heart to its answers; so is what is
decided of claims and questions for wishes. Only their two loops are written again, since nobody may wait here: what
waits is an event on the agenda.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from greenroom.client.heartbeat import Heartbeat, Notice
from greenroom.client.session import Session
from greenroom.daemon.beat import MachineBeat
from greenroom.daemon.desk import Desk
from greenroom.daemon.machine import Machine
from greenroom.domain.errors import GreenroomError, Unavailable
from greenroom.domain.presence import RENEW_CLAIM, presence_of_daemon
from greenroom.domain.reliability import DEFAULTS
from greenroom.domain.standing import Standing, standing_for
from greenroom.entropy import SeededEntropy
from greenroom.service import sweeping
from greenroom.service.leases import seat_key
from greenroom.wire.replies import MachineHeartbeatReply, TaskRef, Wishes
from greenroom.wire.requests import MachineHeartbeat, PutMachine
from tests.service.house import House

INTERVAL_S = DEFAULTS.daemon_heartbeat_interval_s


@dataclass
class Line:
    """The way to the server: whether it carries, what went over it when, and what comes later."""

    house: House
    carries: bool = True
    has_server: bool = True
    requests: list[tuple[float, str]] = field(default_factory=list)
    standing: "set[Call]" = field(default_factory=set)
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _noted: int = 0

    @property
    def now(self) -> float:
        return self.house.clock.monotonic()

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Put something on the agenda."""
        self._noted += 1
        heapq.heappush(self._agenda, (self.now + seconds, self._noted, do))

    def ask(self, kind: str) -> None:
        """A request goes out. Raises Unavailable when nobody is there to answer it."""
        if not (self.carries and self.has_server):
            raise Unavailable("Nobody answers.", "Try again.")
        self.requests.append((self.now, kind))

    def pass_time(self, seconds: float) -> None:
        """Let everything happen that happens in that time."""
        until = self.now + seconds
        while self._agenda and self._agenda[0][0] <= until:
            at, _, do = heapq.heappop(self._agenda)
            self.house.clock.move(max(0.0, at - self.now))
            do()
        self.house.clock.move(until - self.now)

    def sweep(self) -> None:
        """The server's own rounds, for ever."""
        if self.has_server:
            while sweeping.tick(self.house.world):
                pass
        self.later(self.house.limits.sweep_interval_s, self.sweep)

    def break_calls(self) -> None:
        """All that stands at the server fails in this moment."""
        for call in sorted(self.standing, key=lambda call: call.number):
            call.fail()


class Call:
    """A call that waits at the server: how `StandingClaim` and `WishWatch` go about theirs."""

    numbers = 0

    def __init__(
        self, daemon: "Daemon", kind: str, standing: Standing, send: Callable[[], None], is_gated: bool
    ) -> None:
        Call.numbers += 1
        self.number = Call.numbers
        self.stands_since: float | None = None
        self._daemon, self._kind, self._standing, self._send = daemon, kind, standing, send
        self._is_gated = is_gated
        self._was_away = False
        self._sits_out = False
        self._turn = 0

    def go(self) -> None:
        """Ask, if the seat is sure; else be woken when it is."""
        self._turn += 1
        self._sits_out = False
        if self._is_gated and not self._daemon.heart.is_present():
            self._was_away = True
        elif self._was_away and self._daemon.is_crowded:
            self._was_away = False
            self._pause(self._standing.returned_in_crowd(self._daemon.entropy.fraction()))
        else:
            self._was_away = False
            self._ask()

    def renew(self) -> None:
        """Dropped from outside: what stands fails, and who only waits for the seat looks again."""
        if self.stands_since is not None:
            self.fail(was_dropped=True)
        elif not self._sits_out:
            self.go()

    def fail(self, was_dropped: bool = False) -> None:
        """Nobody will answer any more."""
        self._take_down()
        is_crowded = self._daemon.is_crowded
        pause_s = self._standing.failed(is_crowded, self._daemon.entropy.fraction())
        # A question for wishes is asked anew as soon as the beat has found the server; a crowd of claims is not.
        self._pause(pause_s if (is_crowded and self._is_gated) or not was_dropped else 0.0)

    def _pause(self, seconds: float) -> None:
        self._sits_out = self._is_gated and self._daemon.is_crowded
        self._later(seconds, self.go)

    def _ask(self) -> None:
        line, wait_s = self._daemon.line, self._standing.wait_s(self._daemon.entropy.fraction())
        try:
            line.ask(self._kind)
            self._send()
        except Unavailable:
            self.fail()
        except GreenroomError:
            self._daemon.beat_now()
            self._later(self._standing.pause_s_max * self._daemon.entropy.fraction(), self.go)
        else:
            self.stands_since = line.now
            line.standing.add(self)
            self._later(wait_s, self._over)

    def _over(self) -> None:
        self._take_down()
        self._standing.answered()
        self.go()

    def _take_down(self) -> None:
        self.stands_since = None
        self._daemon.line.standing.discard(self)

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._turn += 1
        turn = self._turn
        self._daemon.line.later(seconds, lambda: do() if turn == self._turn else None)


class SimulatedSession(Session):
    """What the beat's thread calls, answered by the house in the same moment."""

    def __init__(self, line: Line) -> None:
        super().__init__("http://127.0.0.1:1", None, line.house.limits)
        self.line = line

    def machine_beat(self, machine: str, body: MachineHeartbeat) -> MachineHeartbeatReply:
        self.line.ask("beat")
        held = [(agent.role, agent.connection_id) for agent in body.agents]
        return self.line.house.beat_machine(*held, machine=machine, room=machine, incarnation=body.incarnation)


class SimulatedDesk(Desk):
    """Where the daemon registers: two requests, one for itself and one for its token."""

    def __init__(self, line: Line, machine: str) -> None:
        def introduce() -> PutMachine:
            return PutMachine(name=machine, harnesses=["shell"])

        super().__init__(
            "http://127.0.0.1:1", lambda: None, Machine(id=machine, name=machine), introduce, line.house.limits
        )
        self._line = line

    def register(self) -> Session:
        self._line.ask("register")
        self._line.house.register(self.machine.id)
        self._line.ask("register")
        return SimulatedSession(self._line)


@dataclass
class Seat:
    """An agent's seat as its daemon holds it."""

    daemon: "Daemon"
    role: str
    room: str
    connection_id: str
    claim: Call = field(init=False)

    def join_again(self, session: Session) -> None:
        self.daemon.line.ask("join")
        self.daemon.line.house.join(self.role, self.connection_id, room=self.room)
        self.claim.renew()

    def confirm(self, task: TaskRef | None, asked_at: float, notes: object = ()) -> None:
        assert task is None

    def drain(self) -> None:
        raise AssertionError("nobody asked for that")

    def yield_role(self) -> None:
        raise AssertionError("nobody else came")


class Daemon:
    """One machine's daemon, its heart and its seats. Its room bears its name."""

    def __init__(self, line: Line, machine: str, roles: tuple[str, ...], seed: int) -> None:
        self.line, self.machine = line, machine
        self.entropy = SeededEntropy(seed)
        self.seats: list[Seat] = []
        self._roles = roles
        limits, clock = line.house.limits, line.house.clock
        # There is no work here, so there are no facts to be told.
        desk, incarnation = SimulatedDesk(line, machine), f"inc_{machine}"
        beat = MachineBeat(desk, incarnation, lambda: self.seats, self._heard, lambda post: None)
        self.heart = Heartbeat(
            presence_of_daemon(limits),
            beat.beat,
            beat.register_and_beat,
            self._take_notice,
            clock,
            self.entropy,
            partial(self._take_answer, beat),
            INTERVAL_S,  # Nobody sleeps here, so there is no wake to look out for every second.
        )
        waits = partial(standing_for, limits, limits.daemon_heartbeat_interval_s)
        self.watch = Call(self, "wishes", waits(limits.wishes_wait_max_s), self._read_wishes, is_gated=False)
        self._waits = waits
        self._wishes: Wishes | None = None
        self._steps = 0

    @property
    def is_crowded(self) -> bool:
        return self.heart.is_crowded()

    def step(self) -> None:
        """What the heart's thread does, over and over."""
        self._steps += 1
        steps = self._steps
        self.line.later(self.heart.step(), lambda: self.step() if steps == self._steps else None)

    def beat_now(self) -> None:
        self.heart.poke()
        self.line.later(0.0, self.step)

    def calls(self) -> list[Call]:
        """All that is to stand at the server."""
        return [self.watch, *(seat.claim for seat in self.seats)]

    def _heard(self, version: int) -> None:
        if self._wishes is not None and version != self._wishes.version:
            self.watch.renew()

    def _take_answer(self, beat: MachineBeat, reply: MachineHeartbeatReply, asked_at: float) -> None:
        if not self.seats:
            self._sit_down()
        beat.take(reply, asked_at)

    def _sit_down(self) -> None:
        for role in self._roles:
            seat = Seat(self, role, self.machine, f"conn_{self.machine}_{role}")
            self.line.ask("join")
            self.line.house.join(role, seat.connection_id, room=self.machine)
            send = partial(self._claim, seat)
            seat.claim = Call(self, "claim", self._waits(), send, is_gated=True)
            self.seats.append(seat)
        for call in self.calls():
            self.line.later(0.0, call.go)

    def _claim(self, seat: Seat) -> None:
        assert self.line.house.claim(seat.role, seat.connection_id, room=seat.room) is None

    def _read_wishes(self) -> None:
        self._wishes = self.line.house.wishes(self.machine)

    def _take_notice(self, notice: Notice) -> None:
        if notice.kind == RENEW_CLAIM:
            for call in self.calls():
                call.renew()


class Fleet:
    """All daemons, in a house of their own, present and in the middle of their intervals."""

    def __init__(self, machines: int, agents: int, seed: int) -> None:
        self.line = Line(House())
        self.house = self.line.house
        self.back_at = 0.0
        entropy = SeededEntropy(seed)
        roles = tuple(f"agent{number}" for number in range(agents))
        self.daemons = [Daemon(self.line, f"m{number}", roles, seed * 10_000 + number) for number in range(machines)]
        for daemon in self.daemons:
            self.house.room(daemon.machine, roles)
            self.house.register(daemon.machine)
            for role in roles:
                self.house.wish(role, machine=daemon.machine, room=daemon.machine)
            self.line.later(entropy.fraction() * INTERVAL_S, daemon.step)
        self.line.sweep()
        self.line.pass_time(2 * INTERVAL_S)

    def lose_server(self, seconds: float) -> None:
        """The server is killed, and comes back after that time on the same store."""
        self.line.has_server = False
        self.line.break_calls()
        self.line.pass_time(seconds)
        self.house.open()
        self.line.has_server = True
        self._is_back()

    def cut_line(self, seconds: float) -> None:
        """Nobody reaches the server for that time, and it goes on."""
        self.line.carries = False
        self.line.break_calls()
        self.line.pass_time(seconds)
        self.line.carries = True
        self._is_back()

    def _is_back(self) -> None:
        self.back_at = self.line.now

    def rates(self, interval: int) -> list[int]:
        """Requests in each second of the interval of that number since the server came back; the first is 0."""
        begins_at = self.back_at + interval * INTERVAL_S
        counted = Counter(int(at - begins_at) for at, _ in self.line.requests if at >= begins_at)
        return [counted[second] for second in range(int(INTERVAL_S))]

    def unwell(self) -> list[str]:
        """Who is not as well as before, by what the server itself holds and has shown since it came back."""
        leases = self.house.world.leases
        found = []
        for daemon in self.daemons:
            room = self.house.look(daemon.machine)
            lease = leases.machines.get(daemon.machine)
            if (
                not self.house.machine(daemon.machine).daemon_connected
                or lease is None
                or lease.beaten_at < self.back_at
            ):
                found.append(f"{daemon.machine} has not beaten")
            present = {(each.role, each.connection_id) for each in room.participants}
            for seat in daemon.seats:
                held = leases.seats.get(seat_key(room.id, seat.role))
                if (seat.role, seat.connection_id) not in present or held is None:
                    found.append(f"{seat.role} of {daemon.machine} is not present")
            found += [f"a call of {daemon.machine} does not stand" for call in daemon.calls() if not call.stands_since]
        return found
