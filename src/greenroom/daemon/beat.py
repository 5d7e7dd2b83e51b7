"""The machine's one beat, which carries all its agents. Knows registration and verdicts; must not know runs."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from greenroom.client.session import Session
from greenroom.daemon.desk import Desk
from greenroom.domain.errors import GreenroomError, NotFound, Refused, RejoinRequired, Unavailable
from greenroom.domain.sitting import DRAIN, REJOIN_REQUIRED, SUPERSEDED
from greenroom.wire.replies import MachineHeartbeatReply, TaskRef
from greenroom.wire.requests import Fact, HeldAgent, MachineHeartbeat, PostFacts

log = logging.getLogger("greenroom.daemon.beat")


class Held(Protocol):
    """A seat as the beat sees it."""

    room: str
    role: str
    connection_id: str

    def join_again(self, session: Session) -> None: ...
    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None: ...
    def drain(self) -> None: ...
    def yield_role(self) -> None: ...


class MachineBeat:
    """What `client.heartbeat` sends for a daemon, and what is done with the answers. All on the beat's own thread."""

    def __init__(
        self,
        desk: Desk,
        incarnation: str,
        held: Callable[[], Sequence[Held]],
        on_version: Callable[[int], None],
        tell_all: Callable[[Callable[[list[Fact]], object]], None],
    ) -> None:
        self._desk = desk
        self._incarnation = incarnation
        self._held = held
        self._on_version = on_version
        self._tell_all = tell_all
        self._session: Session | None = None
        self._has_registered = False
        self._told: str | None = None
        self._named: dict[tuple[str, str], str] = {}

    def register_and_beat(self) -> MachineHeartbeatReply:
        """Say who this machine is and what an earlier daemon could not tell, and beat.

        A refusal before the first contact is raised as it is, for a person to read; later it is as if nobody had
        answered, since a server that was set up anew may take us again.
        """
        try:
            session, self._session = self._session, self._desk.register()
            if session is not None:
                session.close()
            held = self._inventory()
            if not self._has_registered:
                # Before the first beat, and after the list for it was made: a fact says more than an absence.
                self._tell_all(self._post)
            reply = self._send(self._session, 0.0, held)
        except Unavailable as error:
            if not self._has_registered and str(error) != self._told:
                self._told = str(error)  # who has just started it must hear why nothing happens, and hear it once
                log.warning("the server is not reached yet, which is tried on: %s", error)
            raise
        except GreenroomError as error:
            if not self._has_registered:
                raise
            log.warning("the server does not take this machine again, which is tried on: %s", error)
            raise Unavailable(error.detail, error.guidance) from error
        self._has_registered = True
        return reply

    def beat(self, slept_s: float) -> MachineHeartbeatReply:
        """Beat. A server that has forgotten this machine asks for nothing else than a rejoin does."""
        assert self._session is not None, "a machine registers before it beats"
        try:
            return self._send(self._session, slept_s, self._inventory())
        except (NotFound, Refused) as error:
            raise RejoinRequired(error.detail, error.guidance) from error

    def leave(self) -> None:
        """Beat for the last time, so that nobody waits for a lease to run out. Nothing is lost if that is not heard."""
        if self._session is not None:
            body = MachineHeartbeat(incarnation=self._incarnation, leaving=True)
            with suppress(GreenroomError):
                self._session.machine_beat(self._desk.machine.id, body)

    def take(self, reply: MachineHeartbeatReply, asked_at: float) -> None:
        """Act on the verdicts on the agents, asked for at `asked_at`: join again, stop what is not theirs any more."""
        self._on_version(reply.wishes_version)
        # A seat that was taken since that beat was sent is another sitting than the one that was judged.
        seats = {
            (seat.room, seat.role): seat
            for seat in self._held()
            if self._named.get((seat.room, seat.role)) == seat.connection_id
        }
        gone = []
        for verdict in reply.agents:
            seat = seats.get((verdict.room, verdict.role))
            if seat is None:
                continue
            if verdict.status == SUPERSEDED:
                seat.yield_role()
            elif verdict.status == REJOIN_REQUIRED:
                gone.append(seat)
            else:
                if verdict.status == DRAIN:
                    seat.drain()
                seat.confirm(verdict.task, asked_at, verdict.notes)
        self._join_again(gone)

    def _join_again(self, seats: Sequence[Held]) -> None:
        joined = 0
        for seat in seats:
            assert self._session is not None
            try:
                seat.join_again(self._session)
                joined += 1
            except GreenroomError as error:
                log.info("%s in %s could not join again yet: %s", seat.role, seat.room, error)
                if isinstance(error, Unavailable):
                    break  # Many more such calls would hold up the next beat, whose answer names them once more.
        if joined:
            log.warning("the server had removed %d of this machine's agents; they have joined again", joined)

    def _inventory(self) -> list[HeldAgent]:
        """Every agent that is held now."""
        return [HeldAgent(room=seat.room, role=seat.role, connection_id=seat.connection_id) for seat in self._held()]

    def _send(self, session: Session, slept_s: float, held: list[HeldAgent]) -> MachineHeartbeatReply:
        self._named = {(agent.room, agent.role): agent.connection_id for agent in held}
        body = MachineHeartbeat(incarnation=self._incarnation, agents=held, slept_s=slept_s)
        return session.machine_beat(self._desk.machine.id, body)

    def _post(self, facts: list[Fact]) -> None:
        assert self._session is not None
        self._session.facts(self._desk.machine.id, PostFacts(incarnation=self._incarnation, facts=facts))
