"""Reads the state of the whole installation at one moment, for `greenroom status`."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from greenroom.cli.alerts import AlertEntry, collect_alerts
from greenroom.cli.connection import read_pages
from greenroom.client.api_client import ApiClient
from greenroom.domain.errors import NotFound
from greenroom.domain.room import OPEN
from greenroom.domain.task import HELD_STATES, Task
from greenroom.wire.replies import MachineView, RoomView

UNREACHABLE = "unreachable"
LATE_TASKS_READ_MAX = 20


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """The server: `status` is `ok`, `late` (`late` names its late loops) or `unreachable` (`since` an instant)."""

    url: str
    status: str
    late: tuple[str, ...] = ()
    since: str | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    server: ServerView
    needs: tuple[AlertEntry, ...]
    rooms: tuple[RoomView, ...]
    machines: tuple[MachineView, ...]


def read_overview(session: ApiClient) -> Overview:
    """Read the overview from the server. Raises Unavailable if it cannot be reached."""
    health = session.healthz()
    server = ServerView(url=session.url, status="late" if health.late else "ok", late=health.late)
    alerts = tuple(session.alerts())
    listed = read_pages(lambda after: session.rooms(after, session.limits.page_max))
    rooms = tuple(session.snapshot(room.id) for room in listed if room.status == OPEN)
    late = tuple(task for room in rooms for task in read_tasks_with_late_results(session, room))
    machines = tuple(read_pages(lambda after: session.machines(after, session.limits.page_max)))
    entries = tuple(collect_alerts(server.late, alerts, rooms, machines, late))
    return Overview(server=server, needs=entries, rooms=rooms, machines=machines)


def read_tasks_with_late_results(session: ApiClient, room: RoomView) -> Iterator[Task]:
    """The open tasks with late results. Reads only the last `LATE_TASKS_READ_MAX` that lost a holder, a call each."""
    candidates = [
        task for task in room.tasks if task.attempt > 1 or (task.attempt == 1 and task.status not in HELD_STATES)
    ]
    for task in candidates[-LATE_TASKS_READ_MAX:]:
        with suppress(NotFound):  # deleted meanwhile
            full = task if task.late_results else session.task(task.id)
            if full.late_results:
                yield full


def without_heartbeat_times(overview: Overview) -> Overview:
    """The overview without the times that every heartbeat changes, for comparing two overviews."""
    rooms = tuple(
        msgspec.structs.replace(
            room,
            roles=tuple(msgspec.structs.replace(role, last_seen_at=None) for role in room.roles),
            participants=tuple(
                msgspec.structs.replace(participant, ready_until=None) for participant in room.participants
            ),
        )
        for room in overview.rooms
    )
    machines = tuple(msgspec.structs.replace(machine, last_seen_at=None) for machine in overview.machines)
    return msgspec.structs.replace(overview, rooms=rooms, machines=machines)
