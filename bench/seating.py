"""Agents that really sit: rooms, wishes, tokens, joins as people and daemons make them. Must not know how they beat."""

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
    """A role, who sits in it, and the token that speaks for them."""

    room: str
    role: str
    connection_id: str
    token: str


def seat_agents(house: House, count: int) -> list[Seat]:
    """Seat agents that beat for themselves, each with a token of its own."""
    seats = []
    with closing(house.session()) as operator:
        for room, roles in rooms_for("agents", count):
            operator.create_room(CreateRoom(name=room, roles=roles))
            for role in roles:
                token = operator.room_token(room, role).token
                with closing(house.session(token)) as agent:
                    seat = Seat(room, role, f"conn_{room}_{role}", token)
                    expect(agent.join(room, role, seat.connection_id).status, seat)
                    seats.append(seat)
    return seats


def seat_machine(house: House, name: str, count: int) -> list[Seat]:
    """Seat a machine's agents: registered, wished onto it, joined with its token and taken into its beat."""
    with closing(house.session()) as operator:
        token = operator.machine_token(name).token
        with closing(house.session(token)) as daemon:
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


def seat_machines(house: House, machines: int, agents: int) -> dict[str, list[Seat]]:
    """Seat the agents of several machines, many machines at once."""
    names = [f"machine{number}" for number in range(machines)]
    with ThreadPoolExecutor(min(machines, AT_ONCE_MAX)) as threads:
        return dict(zip(names, threads.map(lambda name: seat_machine(house, name, agents), names), strict=True))


def opened(operator: Session, rooms: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """The same rooms, made."""
    for room, roles in rooms:
        operator.create_room(CreateRoom(name=room, roles=roles))
    return rooms


def seat_on(operator: Session, daemon: Session, machine: str, seat: Seat) -> Seat:
    """Wish a role onto a machine and have the machine's daemon sit in it."""
    operator.wish(seat.room, seat.role, SetAgent(kind="remote", machine=machine, harness="bench"))
    expect(daemon.join(seat.room, seat.role, seat.connection_id).status, seat)
    return seat


def rooms_for(name: str, count: int) -> list[tuple[str, list[str]]]:
    """Names of as few rooms as hold that many agents, with their roles."""
    sizes = [min(ROLES_PER_ROOM, count - first) for first in range(0, count, ROLES_PER_ROOM)]
    return [(f"{name}-room{at}", [f"role{role}" for role in range(each)]) for at, each in enumerate(sizes)]


def beat_of(seats: list[Seat]) -> MachineHeartbeat:
    """The beat of a daemon that holds those seats."""
    agents = [HeldAgent(room=seat.room, role=seat.role, connection_id=seat.connection_id) for seat in seats]
    return MachineHeartbeat(incarnation=INCARNATION, agents=agents)


def spell_agent_beat(house: House, seat: Seat) -> bytes:
    """The request with which one agent beats."""
    path = f"{API}/rooms/{seat.room}/participants/{seat.role}/heartbeat"
    return spell_request("POST", house.port, path, seat.token, Heartbeat(connection_id=seat.connection_id))


def spell_machine_beat(house: House, machine: str, seats: list[Seat]) -> bytes:
    """The request with which a daemon beats for all its agents."""
    path = f"{API}/machines/{machine}/heartbeat"
    return spell_request("POST", house.port, path, seats[0].token, beat_of(seats))


def expect(status: str, whose: object) -> None:
    """Stop the benchmark where somebody did not get their seat."""
    if status != "ok":
        raise RuntimeError(f"expected ok for {whose}, was told {status}")
