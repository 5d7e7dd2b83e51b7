"""A place in a role, as the server has it: joined, come back to, left. Must not know what is done in it."""

import logging

from greenroom.client.errand import FOR_EVER
from greenroom.client.session import Session
from greenroom.domain.errors import GreenroomError, Superseded, Unavailable
from greenroom.domain.sitting import SUPERSEDED
from greenroom.wire.replies import JoinReply

log = logging.getLogger("greenroom.daemon.chair")

TAKEN_OVER = "somebody else took the role over"


class Chair:
    """A place in a role. `is_taken` is what the server said last, until we get up or are told that we have to."""

    def __init__(self, room: str, role: str, connection_id: str, is_taken: bool = False) -> None:
        self.room, self.role, self.connection_id = room, role, connection_id
        self.is_taken = is_taken
        self._may_be_taken = False

    def take(self, session: Session) -> JoinReply:
        """Sit down, politely, or come back with the same connection. Raises Superseded, and what else is refused."""
        try:
            reply = session.join(self.room, self.role, self.connection_id, if_vacant=not self.is_taken)
        except Unavailable:
            self._may_be_taken = True
            raise
        if reply.status == SUPERSEDED:
            raise Superseded(TAKEN_OVER, "It is taken again when it is vacant.")
        self.is_taken, self._may_be_taken = True, False
        return reply

    def get_up(self, session: Session, reason: str | None) -> None:
        """Leave, unless the server knows already that this sitting is over.

        A join whose answer was lost may have been heard. Nobody would name that sitting in a beat, and the next one
        would find the role taken until its lease has run out.
        """
        if not self.is_taken and not self._may_be_taken:
            return
        self.is_taken = False
        try:
            session.patient(FOR_EVER).leave(self.room, self.role, self.connection_id, "stopped", reason)
        except GreenroomError as error:
            log.warning("%s could not leave: %s", self.role, error)
