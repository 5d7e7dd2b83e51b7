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
def list_machines(world: World, reader: Reader, ask: Ask[None]) -> object:
    """List the machines."""
    return machines.list_all(world, reader, ask.caller, ask.query.after, ask.limit(world.limits))


@calls.read(MACHINE, MachineView)
def show_machine(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Show a machine with the agents on it."""
    return machines.show(world, reader, ask.caller, ask.machine)


@calls.write(HttpMethod.PUT, MACHINE, PutMachine, MachineView)
def register_machine(world: World, transaction: Transaction, ask: Ask[PutMachine]) -> object:
    """Register a machine, or update its name, harnesses and labels."""
    return machines.register(world, transaction, ask.caller, ask.machine, ask.body)


@calls.write(HttpMethod.DELETE, MACHINE, None, None)
def delete_machine(world: World, transaction: Transaction, ask: Ask[None]) -> object:
    """Delete a machine that no role is assigned to any more."""
    machines.delete(world, transaction, ask.caller, ask.machine)
    return None


@calls.call(HttpMethod.POST, f"{MACHINE}/heartbeat", MachineHeartbeat, MachineHeartbeatReply)
async def machine_heartbeat(doors: Doors, ask: Ask[MachineHeartbeat]) -> object:
    """Renew the leases of a machine and its agents; a disconnected machine is answered once its reconnect is stored."""
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
    """List a machine's assignments, waiting up to `wait_s` seconds for another version than `after`."""
    return await claims.wishes(doors, ask)


@calls.write(HttpMethod.POST, f"{MACHINE}/facts", PostFacts, FactsReply)
def post_facts(world: World, transaction: Transaction, ask: Ask[PostFacts]) -> object:
    """Report what happened to a machine's agents; a report that is sent again is applied once."""
    return facts.take(world, transaction, ask.caller, ask.machine, ask.body)


@calls.mint(f"{MACHINE}/token", TokenReply)
def make_machine_token(world: World, reader: Reader, ask: Ask[None]) -> object:
    """Make the token of a machine's daemon; operator only."""
    return machines.token(world, ask.caller, ask.machine)
