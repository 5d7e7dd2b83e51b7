"""The calls of the API, noun by noun. Each says what it takes and gives and which use case does it, and no more."""

from greenroom.server.operations import Operations
from greenroom.server.routes import attention, events, health, machines, participants, rooms, tasks

OPERATIONS = Operations(
    [*rooms.calls, *participants.calls, *tasks.calls, *machines.calls, *attention.calls, *events.calls, *health.calls]
)
