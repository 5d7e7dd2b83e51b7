"""Calls about machines: their registration, and the heartbeats, assignments and reports of their daemons."""

from litestar import HttpMethod

from greenroom.server import claims
from greenroom.server.ask import Ask
from greenroom.server.departure import watched
from greenroom.server.doors import Doors
from greenroom.server.operations import API, Operations
from greenroom.server.queries import ListQuery, WishesQuery
from greenroom.service import connecting, facts, machines
from greenroom.service.world import World
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import FactsReply, MachineHeartbeatReply, MachineView, TokenReply, Wishes
from greenroom.wire.requests import MachineHeartbeat, PostFacts, PutMachine

calls = Operations()

MACHINES = f"{API}/machines"
MACHINE = f"{MACHINES}/{{machine}}"


@calls.read(MACHINES, list[MachineView], ListQuery)
def list_machines(world: World, reader: Reader, request: Ask[None]) -> object:
    """List the machines."""
    return machines.list_all(world, reader, request.caller, request.query.after, request.limit(world.limits))


@calls.read(MACHINE, MachineView)
def show_machine(world: World, reader: Reader, request: Ask[None]) -> object:
    """Show a machine with the agents on it."""
    return machines.show(world, reader, request.caller, request.machine)


@calls.write(HttpMethod.PUT, MACHINE, PutMachine, MachineView)
def register_machine(world: World, transaction: Transaction, request: Ask[PutMachine]) -> object:
    """Register a machine, or update its name, harnesses and labels."""
    return machines.register(world, transaction, request.caller, request.machine, request.body)


@calls.write(HttpMethod.DELETE, MACHINE, None, None)
def delete_machine(world: World, transaction: Transaction, request: Ask[None]) -> object:
    """Delete a machine that no role is assigned to any more."""
    machines.delete(world, transaction, request.caller, request.machine)
    return None


@calls.call(HttpMethod.POST, f"{MACHINE}/heartbeat", MachineHeartbeat, MachineHeartbeatReply)
async def machine_heartbeat(server: Doors, request: Ask[MachineHeartbeat]) -> object:
    """Renew the leases of a machine and its agents; a disconnected machine is answered once its reconnect is stored."""
    reply = connecting.beat(server.world, request.caller, request.machine, request.body)
    if reply is None:
        with watched(request.sent) as disconnected:
            reply = await server.write(
                lambda world, tx: connecting.reconnect(
                    world, tx, request.caller, request.machine, request.body, disconnected.is_set
                )
            )
    server.tally.machine_beats[reply.status] += 1
    server.tally.agents_in_machine_beats += len(request.body.agents)
    return reply


@calls.call(HttpMethod.GET, f"{MACHINE}/wishes", None, Wishes, WishesQuery)
async def list_wishes(server: Doors, request: Ask[None]) -> object:
    """List a machine's assignments, waiting up to `wait_s` seconds for another version than `after`."""
    return await claims.wishes(server, request)


@calls.write(HttpMethod.POST, f"{MACHINE}/facts", PostFacts, FactsReply)
def post_facts(world: World, transaction: Transaction, request: Ask[PostFacts]) -> object:
    """Report what happened to a machine's agents; a report that is sent again is applied once."""
    return facts.take(world, transaction, request.caller, request.machine, request.body)


@calls.mint(f"{MACHINE}/token", TokenReply)
def make_machine_token(world: World, reader: Reader, request: Ask[None]) -> object:
    """Make the token of a machine's daemon; operator only."""
    return machines.token(world, request.caller, request.machine)
