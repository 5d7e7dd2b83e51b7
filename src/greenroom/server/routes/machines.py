"""Calls about machines: their daemons' beats, wishes and facts."""

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
def list_machines(world: World, reader: Reader, ask: Ask[None]) -> object:
    """List the machines."""
    return machines.list_all(world, reader, ask.caller, ask.query.after, ask.limit(world.limits))


@calls.read(MACHINE, MachineView)
def show_machine(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Show a machine with the agents on it."""
    return machines.show(world, reader, ask.caller, ask.machine)


@calls.write(HttpMethod.PUT, MACHINE, PutMachine, MachineView)
def register_machine(world: World, transaction: Transaction, ask: Ask[PutMachine]) -> object:
    """Register a machine, or say anew what it can run."""
    return machines.register(world, transaction, ask.caller, ask.machine, ask.body)


@calls.write(HttpMethod.DELETE, MACHINE, None, None)
def delete_machine(world: World, transaction: Transaction, ask: Ask[None]) -> object:
    """Forget a machine onto which nothing is wished any more."""
    machines.delete(world, transaction, ask.caller, ask.machine)
    return None


@calls.call(HttpMethod.POST, f"{MACHINE}/heartbeat", MachineHeartbeat, MachineHeartbeatReply)
async def machine_heartbeat(doors: Doors, ask: Ask[MachineHeartbeat]) -> object:
    """Say that a daemon lives, and with it its agents; a disconnected machine is answered when it is back for good."""
    reply = connecting.beat(doors.world, ask.caller, ask.machine, ask.body)
    if reply is None:
        with watched(ask.sent) as gone:
            reply = await doors.write(
                lambda world, tx: connecting.reconnect(world, tx, ask.caller, ask.machine, ask.body, gone.is_set)
            )
    doors.tally.machine_beats[reply.status] += 1
    doors.tally.agents_in_machine_beats += len(ask.body.agents)
    return reply


@calls.call(HttpMethod.GET, f"{MACHINE}/wishes", None, Wishes, WishesQuery)
async def list_wishes(doors: Doors, ask: Ask[None]) -> object:
    """Tell what is wished of a machine, waiting for another version than the one that is known."""
    return await claims.wishes(doors, ask)


@calls.write(HttpMethod.POST, f"{MACHINE}/facts", PostFacts, FactsReply)
def post_facts(world: World, transaction: Transaction, ask: Ask[PostFacts]) -> object:
    """Report what a daemon saw happen, each fact once."""
    return facts.take(world, transaction, ask.caller, ask.machine, ask.body)


@calls.mint(f"{MACHINE}/token", TokenReply)
def make_machine_token(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Make the token of a machine's daemon; only an operator may."""
    return machines.token(world, ask.caller, ask.machine)
