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

from greenroom.client.api_client import ApiClient
from greenroom.client.heartbeat import Heartbeat, HeartbeatNotice
from greenroom.daemon.heartbeat import MachineHeartbeats
from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.server_link import ServerLink
from greenroom.domain.errors import GreenroomError, Unavailable
from greenroom.domain.heartbeat_policy import (
    RENEW_CLAIM,
    LongPollPolicy,
    daemon_heartbeat_policy,
    make_long_poll_policy,
)
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.service import sweeper
from greenroom.service.state.lease_table import role_key
from greenroom.testing import SeededEntropy
from greenroom.wire.replies import Assignments, MachineHeartbeatReply, TaskRef
from greenroom.wire.requests import MachineHeartbeat, PutMachine
from tests.service.in_process_service import InProcessService

INTERVAL_S = DEFAULT_LIMITS.daemon_heartbeat_interval_s


@dataclass
class SimulatedNetwork:
    """The network to the server: whether it works, the requests that were sent, and the scheduled events."""

    server: InProcessService
    is_up: bool = True
    is_server_up: bool = True
    requests: list[tuple[float, str]] = field(default_factory=list)
    waiting: "set[SimulatedLongPoll]" = field(default_factory=set)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _event_count: int = 0

    @property
    def now(self) -> float:
        return self.server.clock.monotonic()

    def schedule(self, seconds: float, callback: Callable[[], None]) -> None:
        """Schedule a call in so many seconds."""
        self._event_count += 1
        heapq.heappush(self._events, (self.now + seconds, self._event_count, callback))

    def record_request(self, kind: str) -> None:
        """Record a request. Raises Unavailable when the network or the server is down."""
        if not (self.is_up and self.is_server_up):
            raise Unavailable("The server does not answer.", "Try again.")
        self.requests.append((self.now, kind))

    def pass_time(self, seconds: float) -> None:
        """Move the clock by so many seconds, and run the events that are due meanwhile."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            at, _, callback = heapq.heappop(self._events)
            self.server.clock.advance(max(0.0, at - self.now))
            callback()
        self.server.clock.advance(until - self.now)

    def sweep(self) -> None:
        """Run the server's sweep, now and at each sweep interval."""
        if self.is_server_up:
            while sweeper.tick(self.server.context):
                pass
        self.schedule(self.server.limits.sweep_interval_s, self.sweep)

    def fail_long_polls(self) -> None:
        """Fail all long-polls that wait at the server."""
        for long_poll in sorted(self.waiting, key=lambda long_poll: long_poll.number):
            long_poll.fail()


class SimulatedLongPoll:
    """A long-poll, as `ClaimLoop` and `SpecWatch` make theirs."""

    numbers = 0

    def __init__(
        self, daemon: "FleetDaemon", kind: str, policy: LongPollPolicy, send: Callable[[], None], needs_presence: bool
    ) -> None:
        SimulatedLongPoll.numbers += 1
        self.number = SimulatedLongPoll.numbers
        self.waiting_since: float | None = None
        self._daemon, self._kind, self._policy, self._send = daemon, kind, policy, send
        self._needs_presence = needs_presence
        self._was_absent = False
        self._is_pausing = False
        self._turn = 0

    def start(self) -> None:
        """Send the request if the role's participant is present; otherwise wait to be renewed."""
        self._turn += 1
        self._is_pausing = False
        if self._needs_presence and not self._daemon.heartbeat.is_present():
            self._was_absent = True
        elif self._was_absent and self._daemon.spread_retries:
            self._was_absent = False
            self._pause(self._policy.record_return(self._daemon.entropy.fraction()))
        else:
            self._was_absent = False
            self._send_request()

    def renew(self) -> None:
        """Drop the request and send it again, or check again whether the participant is present."""
        if self.waiting_since is not None:
            self.fail(was_dropped=True)
        elif not self._is_pausing:
            self.start()

    def fail(self, was_dropped: bool = False) -> None:
        """Handle a lost request: retry after a pause."""
        self._stop_waiting()
        spread_retries = self._daemon.spread_retries
        pause_s = self._policy.record_failure(spread_retries, self._daemon.entropy.fraction())
        # A long-poll of assignments is retried as soon as a heartbeat succeeds; claims of a large fleet are spread.
        self._pause(pause_s if (spread_retries and self._needs_presence) or not was_dropped else 0.0)

    def _pause(self, seconds: float) -> None:
        self._is_pausing = self._needs_presence and self._daemon.spread_retries
        self._schedule(seconds, self.start)

    def _send_request(self) -> None:
        network, wait_s = self._daemon.network, self._policy.wait_s(self._daemon.entropy.fraction())
        try:
            network.record_request(self._kind)
            self._send()
        except Unavailable:
            self.fail()
        except GreenroomError:
            self._daemon.beat_now()
            self._schedule(self._policy.pause_s_max * self._daemon.entropy.fraction(), self.start)
        else:
            self.waiting_since = network.now
            network.waiting.add(self)
            self._schedule(wait_s, self._complete)

    def _complete(self) -> None:
        self._stop_waiting()
        self._policy.record_answer()
        self.start()

    def _stop_waiting(self) -> None:
        self.waiting_since = None
        self._daemon.network.waiting.discard(self)

    def _schedule(self, seconds: float, callback: Callable[[], None]) -> None:
        self._turn += 1
        turn = self._turn
        self._daemon.network.schedule(seconds, lambda: callback() if turn == self._turn else None)


class SimulatedSession(ApiClient):
    """The client session of the heartbeat's thread, which the in-process service answers at once."""

    def __init__(self, network: SimulatedNetwork) -> None:
        super().__init__("http://127.0.0.1:1", None, network.server.limits)
        self.network = network

    def machine_beat(self, machine: str, body: MachineHeartbeat) -> MachineHeartbeatReply:
        self.network.record_request("beat")
        held = [(agent.role, agent.connection_id) for agent in body.agents]
        return self.network.server.beat_machine(*held, machine=machine, room=machine, incarnation=body.incarnation)


class SimulatedServerLink(ServerLink):
    """The daemon's registration: two requests, one for the machine and one for its token."""

    def __init__(self, network: SimulatedNetwork, machine: str) -> None:
        def describe_machine() -> PutMachine:
            return PutMachine(name=machine, harnesses=["shell"])

        super().__init__(
            "http://127.0.0.1:1",
            lambda: None,
            MachineIdentity(id=machine, name=machine),
            describe_machine,
            network.server.limits,
        )
        self._network = network

    def register(self) -> ApiClient:
        self._network.record_request("register")
        self._network.server.register_machine(self.machine.id)
        self._network.record_request("register")
        return SimulatedSession(self._network)


@dataclass
class SimulatedRole:
    """A role that a daemon holds for an agent."""

    daemon: "FleetDaemon"
    role: str
    room: str
    connection_id: str
    claim_poll: SimulatedLongPoll = field(init=False)

    def rejoin(self, session: ApiClient) -> None:
        self.daemon.network.record_request("join")
        self.daemon.network.server.join(self.role, self.connection_id, room=self.room)
        self.claim_poll.renew()

    def compare_task(self, task: TaskRef | None, asked_at: float, notes: object = ()) -> None:
        assert task is None

    def drain(self) -> None:
        raise AssertionError("an unexpected drain")

    def yield_role(self) -> None:
        raise AssertionError("an unexpected takeover")


class FleetDaemon:
    """One machine's daemon, its heartbeat and its roles, in a room with the machine's name."""

    def __init__(self, network: SimulatedNetwork, machine: str, roles: tuple[str, ...], seed: int) -> None:
        self.network, self.machine = network, machine
        self.entropy = SeededEntropy(seed)
        self.held_roles: list[SimulatedRole] = []
        self._role_names = roles
        limits, clock = network.server.limits, network.server.clock
        # There are no runs here, so there are no reports to send.
        server_link, incarnation = SimulatedServerLink(network, machine), f"inc_{machine}"
        beat = MachineHeartbeats(
            server_link, incarnation, lambda: self.held_roles, self._check_version, lambda post: None
        )
        self.heartbeat = Heartbeat(
            daemon_heartbeat_policy(limits),
            beat.beat,
            beat.register_and_beat,
            self._handle_notice,
            clock,
            self.entropy,
            partial(self._handle_reply, beat),
            INTERVAL_S,  # The computer does not sleep here, so it need not be checked for a wake-up every second.
        )
        policy_for = partial(make_long_poll_policy, limits, limits.daemon_heartbeat_interval_s)
        self.assignments_poll = SimulatedLongPoll(
            self, "assignments", policy_for(limits.assignments_wait_max_s), self._read_assignments, needs_presence=False
        )
        self._policy_for = policy_for
        self._assignments: Assignments | None = None
        self._steps = 0

    @property
    def spread_retries(self) -> bool:
        return self.heartbeat.spread_retries()

    def step(self) -> None:
        """Run one step of the heartbeat's thread, and schedule the next."""
        self._steps += 1
        steps = self._steps
        self.network.schedule(self.heartbeat.step(), lambda: self.step() if steps == self._steps else None)

    def beat_now(self) -> None:
        self.heartbeat.beat_now()
        self.network.schedule(0.0, self.step)

    def long_polls(self) -> list[SimulatedLongPoll]:
        """All long-polls that should wait at the server."""
        return [self.assignments_poll, *(held_role.claim_poll for held_role in self.held_roles)]

    def _check_version(self, version: int) -> None:
        if self._assignments is not None and version != self._assignments.version:
            self.assignments_poll.renew()

    def _handle_reply(self, beat: MachineHeartbeats, reply: MachineHeartbeatReply, asked_at: float) -> None:
        if not self.held_roles:
            self._join_roles()
        beat.apply_verdicts(reply, asked_at)

    def _join_roles(self) -> None:
        for role in self._role_names:
            held_role = SimulatedRole(self, role, self.machine, f"conn_{self.machine}_{role}")
            self.network.record_request("join")
            self.network.server.join(role, held_role.connection_id, room=self.machine)
            send = partial(self._claim, held_role)
            held_role.claim_poll = SimulatedLongPoll(self, "claim", self._policy_for(), send, needs_presence=True)
            self.held_roles.append(held_role)
        for long_poll in self.long_polls():
            self.network.schedule(0.0, long_poll.start)

    def _claim(self, held_role: SimulatedRole) -> None:
        assert self.network.server.claim(held_role.role, held_role.connection_id, room=held_role.room) is None

    def _read_assignments(self) -> None:
        self._assignments = self.network.server.list_assignments(self.machine)

    def _handle_notice(self, notice: HeartbeatNotice) -> None:
        if notice.kind == RENEW_CLAIM:
            for long_poll in self.long_polls():
                long_poll.renew()


class SimulatedFleet:
    """All daemons and their server; after the start, all are present and spread over the heartbeat interval."""

    def __init__(self, machines: int, agents: int, seed: int) -> None:
        self.network = SimulatedNetwork(InProcessService())
        self.server = self.network.server
        self.back_at = 0.0
        entropy = SeededEntropy(seed)
        roles = tuple(f"agent{number}" for number in range(agents))
        self.daemons = [
            FleetDaemon(self.network, f"m{number}", roles, seed * 10_000 + number) for number in range(machines)
        ]
        for daemon in self.daemons:
            self.server.create_room(daemon.machine, roles)
            self.server.register_machine(daemon.machine)
            for role in roles:
                self.server.set_agent_spec(role, machine=daemon.machine, room=daemon.machine)
            self.network.schedule(entropy.fraction() * INTERVAL_S, daemon.step)
        self.network.sweep()
        self.network.pass_time(2 * INTERVAL_S)

    def stop_server(self, seconds: float) -> None:
        """Kill the server, and start it on the same store after that time."""
        self.network.is_server_up = False
        self.network.fail_long_polls()
        self.network.pass_time(seconds)
        self.server.restart_server()
        self.network.is_server_up = True
        self._record_return()

    def cut_network(self, seconds: float) -> None:
        """Cut the network for that time, while the server continues to run."""
        self.network.is_up = False
        self.network.fail_long_polls()
        self.network.pass_time(seconds)
        self.network.is_up = True
        self._record_return()

    def _record_return(self) -> None:
        self.back_at = self.network.now

    def rates(self, interval: int) -> list[int]:
        """The number of requests in each second of an interval; interval 0 begins when the server returns."""
        start_at = self.back_at + interval * INTERVAL_S
        counted = Counter(int(at - start_at) for at, _ in self.network.requests if at >= start_at)
        return [counted[second] for second in range(int(INTERVAL_S))]

    def unrecovered(self) -> list[str]:
        """Descriptions of machines, roles and long-polls that have not recovered, by the server's own state."""
        leases = self.server.context.leases
        unrecovered = []
        for daemon in self.daemons:
            room = self.server.show_room(daemon.machine)
            lease = leases.machines.get(daemon.machine)
            if (
                not self.server.show_machine(daemon.machine).daemon_connected
                or lease is None
                or lease.last_heartbeat_at < self.back_at
            ):
                unrecovered.append(f"{daemon.machine} has sent no heartbeat")
            present = {(participant.role, participant.connection_id) for participant in room.participants}
            for held_role in daemon.held_roles:
                held = leases.participants.get(role_key(room.id, held_role.role))
                if (held_role.role, held_role.connection_id) not in present or held is None:
                    unrecovered.append(f"{held_role.role} of {daemon.machine} is not present")
            unrecovered += [
                f"a long-poll of {daemon.machine} is not waiting"
                for long_poll in daemon.long_polls()
                if not long_poll.waiting_since
            ]
        return unrecovered
