"""Sets up agents that have really joined: rooms, agent specs, tokens and joins, by the calls of users and daemons."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec

from bench.connection import spell_request
from bench.house import House
from greenroom.client.session import Session
from greenroom.wire.requests import CreateRoom, Heartbeat, HeldAgent, MachineHeartbeat, PutMachine, SetAgent

INCARNATION = "inc_bench"
API = "/api/v1"
ROLES_PER_ROOM = 50
AT_ONCE_MAX = 8


class Seat(msgspec.Struct, frozen=True):
    """A role, the connection of its participant, and the token that its requests use."""

    room: str
    role: str
    connection_id: str
    token: str


def seat_agents(greenroom: House, count: int) -> list[Seat]:
    """Join `count` agents that beat for themselves, each with a token of its own."""
    seats = []
    with closing(greenroom.session()) as operator:
        for room, roles in rooms_for("agents", count):
            operator.create_room(CreateRoom(name=room, roles=roles))
            for role in roles:
                token = operator.room_token(room, role).token
                with closing(greenroom.session(token)) as agent:
                    seat = Seat(room, role, f"conn_{room}_{role}", token)
                    expect(agent.join(room, role, seat.connection_id).status, seat)
                    seats.append(seat)
    return seats


def seat_machine(greenroom: House, name: str, count: int) -> list[Seat]:
    """Join a machine's agents: register the machine, assign the roles, join with its token, beat once for all."""
    with closing(greenroom.session()) as operator:
        token = operator.machine_token(name).token
        with closing(greenroom.session(token)) as daemon:
            daemon.register(name, PutMachine(name=name, harnesses=["bench"]))
            seats = [
                seat_on(operator, daemon, name, Seat(room, role, f"conn_{room}_{role}", token))
                for room, roles in opened(operator, rooms_for(name, count))
                for role in roles
            ]
            reply = daemon.machine_beat(name, beat_of(seats))
    for agent in reply.agents:
        expect(agent.status, agent)
    return seats


def seat_machines(greenroom: House, machines: int, agents: int) -> dict[str, list[Seat]]:
    """Join the agents of several machines, up to 8 machines at the same time."""
    names = [f"machine{number}" for number in range(machines)]
    with ThreadPoolExecutor(min(machines, AT_ONCE_MAX)) as threads:
        return dict(zip(names, threads.map(lambda name: seat_machine(greenroom, name, agents), names), strict=True))


def opened(operator: Session, rooms: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Create the rooms, and return them unchanged."""
    for room, roles in rooms:
        operator.create_room(CreateRoom(name=room, roles=roles))
    return rooms


def seat_on(operator: Session, daemon: Session, machine: str, seat: Seat) -> Seat:
    """Assign a role to a machine and join it with the machine's token."""
    operator.wish(seat.room, seat.role, SetAgent(kind="remote", machine=machine, harness="bench"))
    expect(daemon.join(seat.room, seat.role, seat.connection_id).status, seat)
    return seat


def rooms_for(name: str, count: int) -> list[tuple[str, list[str]]]:
    """Names and roles of as few rooms as hold `count` agents."""
    sizes = [min(ROLES_PER_ROOM, count - first) for first in range(0, count, ROLES_PER_ROOM)]
    return [(f"{name}-room{number}", [f"role{role}" for role in range(size)]) for number, size in enumerate(sizes)]


def beat_of(seats: list[Seat]) -> MachineHeartbeat:
    """The beat of a daemon that names these agents."""
    agents = [HeldAgent(room=seat.room, role=seat.role, connection_id=seat.connection_id) for seat in seats]
    return MachineHeartbeat(incarnation=INCARNATION, agents=agents)


def spell_agent_beat(greenroom: House, seat: Seat) -> bytes:
    """Encode the beat of one agent as a request."""
    path = f"{API}/rooms/{seat.room}/participants/{seat.role}/heartbeat"
    return spell_request("POST", greenroom.port, path, seat.token, Heartbeat(connection_id=seat.connection_id))


def spell_machine_beat(greenroom: House, machine: str, seats: list[Seat]) -> bytes:
    """Encode a daemon's beat for all its agents as a request."""
    path = f"{API}/machines/{machine}/heartbeat"
    return spell_request("POST", greenroom.port, path, seats[0].token, beat_of(seats))


def expect(status: str, subject: object) -> None:
    """Raise `RuntimeError`, which ends the benchmark, if a join or a beat was not answered `ok`."""
    if status != "ok":
        raise RuntimeError(f"expected ok for {subject}, got {status}")
