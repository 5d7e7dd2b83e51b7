"""The API calls, a module for each resource. Each call names its body, query and reply, and runs one use case."""

from greenroom.server.endpoints import EndpointTable
from greenroom.server.routes import alerts, events, health, machines, participants, rooms, tasks

OPERATIONS = EndpointTable(
    [*rooms.calls, *participants.calls, *tasks.calls, *machines.calls, *alerts.calls, *events.calls, *health.calls]
)
