"""Sets up agents that have really joined: rooms, agent specs, tokens and joins, by the calls of users and daemons."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec

from bench.connection import encode_request
from bench.server_process import RunningServer
from greenroom.client.api_client import ApiClient
from greenroom.wire.requests import CreateRoom, HeartbeatBody, HeldAgent, MachineHeartbeat, PutMachine, SetAgentSpec

INCARNATION = "inc_bench"
API = "/api/v1"
ROLES_PER_ROOM = 50
AT_ONCE_MAX = 8


class JoinedAgent(msgspec.Struct, frozen=True):
    """A role, the connection of its participant, and the token that its requests use."""

    room: str
    role: str
    connection_id: str
    token: str


def join_agents(greenroom: RunningServer, count: int) -> list[JoinedAgent]:
    """Join `count` agents that beat for themselves, each with a token of its own."""
    seats = []
    with closing(greenroom.session()) as operator:
        for room, roles in plan_rooms("agents", count):
            operator.create_room(CreateRoom(name=room, roles=roles))
            for role in roles:
                token = operator.room_token(room, role).token
                with closing(greenroom.session(token)) as agent:
                    seat = JoinedAgent(room, role, f"conn_{room}_{role}", token)
                    expect_ok(agent.join(room, role, seat.connection_id).status, seat)
                    seats.append(seat)
    return seats


def join_machine_agents(greenroom: RunningServer, name: str, count: int) -> list[JoinedAgent]:
    """Join a machine's agents: register the machine, assign the roles, join with its token, beat once for all."""
    with closing(greenroom.session()) as operator:
        token = operator.machine_token(name).token
        with closing(greenroom.session(token)) as daemon:
            daemon.register(name, PutMachine(name=name, harnesses=["bench"]))
            seats = [
                assign_and_join(operator, daemon, name, JoinedAgent(room, role, f"conn_{room}_{role}", token))
                for room, roles in create_rooms(operator, plan_rooms(name, count))
                for role in roles
            ]
            reply = daemon.machine_beat(name, machine_heartbeat(seats))
    for agent in reply.agents:
        expect_ok(agent.status, agent)
    return seats


def join_machines(greenroom: RunningServer, machines: int, agents: int) -> dict[str, list[JoinedAgent]]:
    """Join the agents of several machines, up to 8 machines at the same time."""
    names = [f"machine{number}" for number in range(machines)]
    with ThreadPoolExecutor(min(machines, AT_ONCE_MAX)) as threads:
        return dict(
            zip(names, threads.map(lambda name: join_machine_agents(greenroom, name, agents), names), strict=True)
        )


def create_rooms(operator: ApiClient, rooms: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Create the rooms, and return them unchanged."""
    for room, roles in rooms:
        operator.create_room(CreateRoom(name=room, roles=roles))
    return rooms


def assign_and_join(operator: ApiClient, daemon: ApiClient, machine: str, seat: JoinedAgent) -> JoinedAgent:
    """Assign a role to a machine and join it with the machine's token."""
    operator.set_agent_spec(seat.room, seat.role, SetAgentSpec(kind="remote", machine=machine, harness="bench"))
    expect_ok(daemon.join(seat.room, seat.role, seat.connection_id).status, seat)
    return seat


def plan_rooms(name: str, count: int) -> list[tuple[str, list[str]]]:
    """Names and roles of as few rooms as hold `count` agents."""
    sizes = [min(ROLES_PER_ROOM, count - first) for first in range(0, count, ROLES_PER_ROOM)]
    return [(f"{name}-room{number}", [f"role{role}" for role in range(size)]) for number, size in enumerate(sizes)]


def machine_heartbeat(seats: list[JoinedAgent]) -> MachineHeartbeat:
    """The beat of a daemon that names these agents."""
    agents = [HeldAgent(room=seat.room, role=seat.role, connection_id=seat.connection_id) for seat in seats]
    return MachineHeartbeat(incarnation=INCARNATION, agents=agents)


def encode_agent_beat(greenroom: RunningServer, seat: JoinedAgent) -> bytes:
    """Encode the beat of one agent as a request."""
    path = f"{API}/rooms/{seat.room}/participants/{seat.role}/heartbeat"
    return encode_request("POST", greenroom.port, path, seat.token, HeartbeatBody(connection_id=seat.connection_id))


def encode_machine_beat(greenroom: RunningServer, machine: str, seats: list[JoinedAgent]) -> bytes:
    """Encode a daemon's beat for all its agents as a request."""
    path = f"{API}/machines/{machine}/heartbeat"
    return encode_request("POST", greenroom.port, path, seats[0].token, machine_heartbeat(seats))


def expect_ok(status: str, subject: object) -> None:
    """Raise `RuntimeError`, which ends the benchmark, if a join or a beat was not answered `ok`."""
    if status != "ok":
        raise RuntimeError(f"expected ok for {subject}, got {status}")
