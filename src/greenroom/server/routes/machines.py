"""Calls about machines: their registration, and the heartbeats, assignments and reports of their daemons."""

from http import HTTPMethod

from greenroom.server import long_poll
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.long_poll import watch_disconnect
from greenroom.server.request import AssignmentsQuery, ListQuery, Request
from greenroom.service import agent_reports, machine_heartbeats, machines
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import Assignments, MachineHeartbeatReply, MachineView, ReportsReply, TokenReply
from greenroom.wire.requests import MachineHeartbeat, PutMachine, ReportBatch

calls = EndpointTable()

MACHINES = f"{API_PREFIX}/machines"
MACHINE = f"{MACHINES}/{{machine}}"


@calls.query(MACHINES, list[MachineView], ListQuery)
def list_machines(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """List the machines."""
    return machines.list_all(context, reader, request.principal, request.query.after, request.page_size(context.limits))


@calls.query(MACHINE, MachineView)
def show_machine(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """Show a machine with the agents on it."""
    return machines.get_machine_view(context, reader, request.principal, request.machine)


@calls.mutation(HTTPMethod.PUT, MACHINE, PutMachine, MachineView)
def register_machine(context: ServiceContext, transaction: Transaction, request: Request[PutMachine]) -> object:
    """Register a machine, or update its name, harnesses and labels."""
    return machines.register(context, transaction, request.principal, request.machine, request.body)


@calls.mutation(HTTPMethod.DELETE, MACHINE, None, None)
def delete_machine(context: ServiceContext, transaction: Transaction, request: Request[None]) -> object:
    """Delete a machine that no role is assigned to any more."""
    machines.delete(context, transaction, request.principal, request.machine)
    return None


@calls.custom(HTTPMethod.POST, f"{MACHINE}/heartbeat", MachineHeartbeat, MachineHeartbeatReply)
async def machine_heartbeat(server: ServerContext, request: Request[MachineHeartbeat]) -> object:
    """Renew the leases of a machine and its agents; a disconnected machine is answered once its reconnect is stored."""
    reply = machine_heartbeats.renew_machine(server.service, request.principal, request.machine, request.body)
    if reply is None:
        with watch_disconnect(request.raw) as disconnected:
            reply = await server.write(
                lambda context, tx: machine_heartbeats.process_heartbeat(
                    context, tx, request.principal, request.machine, request.body, disconnected.is_set
                )
            )
    server.counters.machine_beats[reply.status] += 1
    server.counters.agents_in_machine_beats += len(request.body.agents)
    return reply


@calls.custom(HTTPMethod.GET, f"{MACHINE}/assignments", None, Assignments, AssignmentsQuery)
async def list_assignments(server: ServerContext, request: Request[None]) -> object:
    """List a machine's assignments, waiting up to `wait_s` seconds for another version than `after`."""
    return await long_poll.wait_for_assignments(server, request)


@calls.mutation(HTTPMethod.POST, f"{MACHINE}/reports", ReportBatch, ReportsReply)
def post_reports(context: ServiceContext, transaction: Transaction, request: Request[ReportBatch]) -> object:
    """Report what happened to a machine's agents; a report that is sent again is applied once."""
    return agent_reports.accept_reports(context, transaction, request.principal, request.machine, request.body)


@calls.query_post(f"{MACHINE}/token", TokenReply)
def make_machine_token(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """Make the token of a machine's daemon; operator only."""
    return machines.make_token(context, request.principal, request.machine)
