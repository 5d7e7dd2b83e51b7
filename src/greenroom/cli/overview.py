"""Reads the state of the whole installation at one moment, for `greenroom status`."""

import msgspec

from greenroom.cli.connection import read_pages
from greenroom.client.api_client import ApiClient
from greenroom.domain.room import OPEN
from greenroom.wire.replies import AlertView, MachineView, RoomView

UNREACHABLE = "unreachable"


class ServerView(msgspec.Struct, frozen=True, kw_only=True):
    """The server: `status` is `ok`, `late` (`late` names its late loops) or `unreachable` (`since` an instant)."""

    url: str
    status: str
    late: tuple[str, ...] = ()
    since: str | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    server: ServerView
    needs: tuple[AlertView, ...]
    rooms: tuple[RoomView, ...]
    machines: tuple[MachineView, ...]


def read_overview(session: ApiClient) -> Overview:
    """Read the overview from the server. Raises Unavailable if it cannot be reached."""
    health = session.healthz()
    server = ServerView(url=session.url, status="late" if health.late else "ok", late=health.late)
    listed = read_pages(lambda after: session.rooms(after, session.limits.page_max))
    rooms = tuple(session.snapshot(room.id) for room in listed if room.status == OPEN)
    machines = tuple(read_pages(lambda after: session.machines(after, session.limits.page_max)))
    return Overview(server=server, needs=tuple(session.alerts()), rooms=rooms, machines=machines)


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
