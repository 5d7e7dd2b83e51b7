"""The heartbeat of a machine: one call that names all its participants, and is answered with a verdict for each.

Intervals and retries are those of `client.heartbeat`, with `daemon_heartbeat_interval_s` and `daemon_heartbeat_ttl_s`.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from greenroom.client.api_client import ApiClient
from greenroom.daemon.server_link import ServerLink
from greenroom.domain.errors import GreenroomError, NotFound, Refused, RejoinRequired, Unavailable
from greenroom.domain.participant import DRAIN, REJOIN_REQUIRED, SUPERSEDED
from greenroom.wire.replies import MachineHeartbeatReply, TaskRef
from greenroom.wire.requests import AgentReport, HeldAgent, MachineHeartbeat, ReportBatch

log = logging.getLogger("greenroom.daemon.heartbeat")


class HeldRole(Protocol):
    """A participant of this machine, as the heartbeat needs it."""

    room: str
    role: str
    connection_id: str

    def rejoin(self, session: ApiClient) -> None: ...
    def compare_task(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None: ...
    def drain(self) -> None: ...
    def yield_role(self) -> None: ...


class MachineHeartbeats:
    """Sends what `client.heartbeat` asks for, and applies the answers. All on the heartbeat's own thread."""

    def __init__(
        self,
        server_link: ServerLink,
        incarnation: str,
        list_held: Callable[[], Sequence[HeldRole]],
        on_version_seen: Callable[[int], None],
        send_all_reports: Callable[[Callable[[list[AgentReport]], object]], None],
    ) -> None:
        self._server_link = server_link
        self._incarnation = incarnation
        self._list_held = list_held
        self._on_version_seen = on_version_seen
        self._send_all_reports = send_all_reports
        self._session: ApiClient | None = None
        self._has_registered = False
        self._last_error: str | None = None
        self._named_connections: dict[tuple[str, str], str] = {}

    def register_and_beat(self) -> MachineHeartbeatReply:
        """Register the machine, send the reports that an earlier daemon left, and beat.

        A rejection at the first contact is raised as it is, so that the daemon stops with it. A later one is raised as
        Unavailable, and so retried: a server that was set up again may accept the machine later.
        """
        try:
            session, self._session = self._session, self._server_link.register()
            if session is not None:
                session.close()
            held = self._inventory()
            if not self._has_registered:
                # Before the first heartbeat, and after its list was made: a report says more than a missing name.
                self._send_all_reports(self._post)
            reply = self._send(self._session, 0.0, held)
        except Unavailable as error:
            if not self._has_registered and str(error) != self._last_error:
                self._last_error = str(error)  # the user who started it needs the reason, once
                log.warning("server unreachable, retrying: %s: %s", self._server_link.url, error)
            raise
        except GreenroomError as error:
            if not self._has_registered:
                raise
            log.warning("registration rejected, retrying: machine %s: %s", self._server_link.machine.id, error)
            raise Unavailable(error.detail, error.guidance) from error
        self._has_registered = True
        return reply

    def beat(self, slept_s: float) -> MachineHeartbeatReply:
        """Beat. Raises RejoinRequired, too, where the server no longer knows the machine or its token."""
        assert self._session is not None, "a machine registers before it beats"
        try:
            return self._send(self._session, slept_s, self._inventory())
        except (NotFound, Refused) as error:
            raise RejoinRequired(error.detail, error.guidance) from error

    def send_leave(self) -> None:
        """Send the last heartbeat, so that the machine leaves at once; if it is lost, the lease has to expire first."""
        if self._session is not None:
            body = MachineHeartbeat(incarnation=self._incarnation, leaving=True)
            with suppress(GreenroomError):
                self._session.machine_beat(self._server_link.machine.id, body)

    def apply_verdicts(self, reply: MachineHeartbeatReply, asked_at: float) -> None:
        """Apply the verdicts of the heartbeat that was sent at `asked_at`, in boot-time seconds.

        Participants that the server has removed join again, superseded ones stop, draining ones take no new task.
        """
        self._on_version_seen(reply.assignments_version)
        # A participant that joined after the heartbeat was sent is not the one that the verdict is about.
        named_roles = {
            (held_role.room, held_role.role): held_role
            for held_role in self._list_held()
            if self._named_connections.get((held_role.room, held_role.role)) == held_role.connection_id
        }
        to_rejoin = []
        for verdict in reply.agents:
            held_role = named_roles.get((verdict.room, verdict.role))
            if held_role is None:
                continue
            if verdict.status == SUPERSEDED:
                held_role.yield_role()
            elif verdict.status == REJOIN_REQUIRED:
                to_rejoin.append(held_role)
            else:
                if verdict.status == DRAIN:
                    held_role.drain()
                held_role.compare_task(verdict.task, asked_at, verdict.notes)
        self._rejoin(to_rejoin)

    def _rejoin(self, held_roles: Sequence[HeldRole]) -> None:
        joined = 0
        for held_role in held_roles:
            assert self._session is not None
            try:
                held_role.rejoin(self._session)
                joined += 1
            except GreenroomError as error:
                log.info("rejoin failed, retrying: %s/%s: %s", held_role.room, held_role.role, error)
                if isinstance(error, Unavailable):
                    break  # More such calls would delay the next heartbeat, whose answer names the others again.
        if joined:
            log.warning("agents rejoined: %d of this machine: the server had removed them", joined)

    def _inventory(self) -> list[HeldAgent]:
        """Every participant of this machine, as the heartbeat names it."""
        return [
            HeldAgent(room=held_role.room, role=held_role.role, connection_id=held_role.connection_id)
            for held_role in self._list_held()
        ]

    def _send(self, session: ApiClient, slept_s: float, held: list[HeldAgent]) -> MachineHeartbeatReply:
        self._named_connections = {(agent.room, agent.role): agent.connection_id for agent in held}
        body = MachineHeartbeat(incarnation=self._incarnation, agents=held, slept_s=slept_s)
        return session.machine_beat(self._server_link.machine.id, body)

    def _post(self, reports: list[AgentReport]) -> None:
        assert self._session is not None
        self._session.post_reports(
            self._server_link.machine.id, ReportBatch(incarnation=self._incarnation, reports=reports)
        )
