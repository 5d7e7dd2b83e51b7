"""Simulates hundreds of daemons and their agents against one server, as events under a moved clock.

The service is the product's own. So are a daemon's heartbeat, from its loop to its answers, and the policies by which
claims and long-polls of assignments are retried. Only the loops of these two are reimplemented, since nothing may block
here: each wait is an event of the simulation.
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
    """The network to the server: whether it works, the requests that were sent, and the scheduled events."""

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
        """Schedule a call in so many seconds."""
        self._noted += 1
        heapq.heappush(self._agenda, (self.now + seconds, self._noted, do))

    def ask(self, kind: str) -> None:
        """Record a request. Raises Unavailable when the network or the server is down."""
        if not (self.carries and self.has_server):
            raise Unavailable("The server does not answer.", "Try again.")
        self.requests.append((self.now, kind))

    def pass_time(self, seconds: float) -> None:
        """Move the clock by so many seconds, and run the events that are due meanwhile."""
        until = self.now + seconds
        while self._agenda and self._agenda[0][0] <= until:
            at, _, do = heapq.heappop(self._agenda)
            self.house.clock.move(max(0.0, at - self.now))
            do()
        self.house.clock.move(until - self.now)

    def sweep(self) -> None:
        """Run the server's sweep, now and at each sweep interval."""
        if self.has_server:
            while sweeping.tick(self.house.world):
                pass
        self.later(self.house.limits.sweep_interval_s, self.sweep)

    def break_calls(self) -> None:
        """Fail all long-polls that wait at the server."""
        for call in sorted(self.standing, key=lambda call: call.number):
            call.fail()


class Call:
    """A long-poll, as `StandingClaim` and `WishWatch` make theirs."""

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
        """Send the request if the role's participant is present; otherwise wait to be renewed."""
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
        """Drop the request and send it again, or check again whether the participant is present."""
        if self.stands_since is not None:
            self.fail(was_dropped=True)
        elif not self._sits_out:
            self.go()

    def fail(self, was_dropped: bool = False) -> None:
        """Handle a lost request: retry after a pause."""
        self._take_down()
        is_crowded = self._daemon.is_crowded
        pause_s = self._standing.failed(is_crowded, self._daemon.entropy.fraction())
        # A long-poll of assignments is retried as soon as a heartbeat succeeds; claims of a large fleet are spread.
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
    """The client session of the heartbeat's thread, which the in-process service answers at once."""

    def __init__(self, line: Line) -> None:
        super().__init__("http://127.0.0.1:1", None, line.house.limits)
        self.line = line

    def machine_beat(self, machine: str, body: MachineHeartbeat) -> MachineHeartbeatReply:
        self.line.ask("beat")
        held = [(agent.role, agent.connection_id) for agent in body.agents]
        return self.line.house.beat_machine(*held, machine=machine, room=machine, incarnation=body.incarnation)


class SimulatedDesk(Desk):
    """The daemon's registration: two requests, one for the machine and one for its token."""

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
    """A role that a daemon holds for an agent."""

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
        raise AssertionError("an unexpected drain")

    def yield_role(self) -> None:
        raise AssertionError("an unexpected takeover")


class Daemon:
    """One machine's daemon, its heartbeat and its roles, in a room with the machine's name."""

    def __init__(self, line: Line, machine: str, roles: tuple[str, ...], seed: int) -> None:
        self.line, self.machine = line, machine
        self.entropy = SeededEntropy(seed)
        self.seats: list[Seat] = []
        self._roles = roles
        limits, clock = line.house.limits, line.house.clock
        # There are no runs here, so there are no reports to send.
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
            INTERVAL_S,  # The computer does not sleep here, so it need not be checked for a wake-up every second.
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
        """Run one step of the heartbeat's thread, and schedule the next."""
        self._steps += 1
        steps = self._steps
        self.line.later(self.heart.step(), lambda: self.step() if steps == self._steps else None)

    def beat_now(self) -> None:
        self.heart.poke()
        self.line.later(0.0, self.step)

    def calls(self) -> list[Call]:
        """All long-polls that should wait at the server."""
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
    """All daemons and their server; after the start, all are present and spread over the heartbeat interval."""

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
        """Kill the server, and start it on the same store after that time."""
        self.line.has_server = False
        self.line.break_calls()
        self.line.pass_time(seconds)
        self.house.open()
        self.line.has_server = True
        self._is_back()

    def cut_line(self, seconds: float) -> None:
        """Cut the network for that time, while the server continues to run."""
        self.line.carries = False
        self.line.break_calls()
        self.line.pass_time(seconds)
        self.line.carries = True
        self._is_back()

    def _is_back(self) -> None:
        self.back_at = self.line.now

    def rates(self, interval: int) -> list[int]:
        """The number of requests in each second of an interval; interval 0 begins when the server returns."""
        begins_at = self.back_at + interval * INTERVAL_S
        counted = Counter(int(at - begins_at) for at, _ in self.line.requests if at >= begins_at)
        return [counted[second] for second in range(int(INTERVAL_S))]

    def unwell(self) -> list[str]:
        """Descriptions of machines, roles and long-polls that have not recovered, by the server's own state."""
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
