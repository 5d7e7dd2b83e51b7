"""The API calls, a module for each resource. Each call names its body, query and reply, and runs one use case."""

from greenroom.server.operations import Operations
from greenroom.server.routes import attention, events, health, machines, participants, rooms, tasks

OPERATIONS = Operations(
    [*rooms.calls, *participants.calls, *tasks.calls, *machines.calls, *attention.calls, *events.calls, *health.calls]
)
