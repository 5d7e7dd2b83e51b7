"""The membership of one participant in a role, as the server has it: join, rejoin, leave."""

import logging

from greenroom.client.errand import FOR_EVER
from greenroom.client.session import Session
from greenroom.domain.errors import GreenroomError, Superseded, Unavailable
from greenroom.domain.sitting import SUPERSEDED
from greenroom.wire.replies import JoinReply

log = logging.getLogger("greenroom.daemon.chair")

TAKEN_OVER = "another participant took over the role"


class Chair:
    """One participant. `is_taken`: it has joined, as far as the server answered, and has not left since."""

    def __init__(self, room: str, role: str, connection_id: str, is_taken: bool = False) -> None:
        self.room, self.role, self.connection_id = room, role, connection_id
        self.is_taken = is_taken
        self._may_be_taken = False

    def take(self, session: Session) -> JoinReply:
        """Join if the role is vacant, or rejoin with the same connection id.

        Raises Superseded when another participant has the role, and any other rejection.
        """
        try:
            reply = session.join(self.room, self.role, self.connection_id, if_vacant=not self.is_taken)
        except Unavailable:
            self._may_be_taken = True
            raise
        if reply.status == SUPERSEDED:
            raise Superseded(TAKEN_OVER, "The daemon joins again when the role is vacant.")
        self.is_taken, self._may_be_taken = True, False
        return reply

    def get_up(self, session: Session, reason: str | None) -> None:
        """Leave, unless the server already ended this participant.

        A join whose answer was lost may have been committed. No heartbeat would name that participant, and the next one
        would find the role taken until the lease expires. So leave then, too.
        """
        if not self.is_taken and not self._may_be_taken:
            return
        self.is_taken = False
        try:
            session.patient(FOR_EVER).leave(self.room, self.role, self.connection_id, "stopped", reason)
        except GreenroomError as error:
            log.warning("leave failed: %s/%s: %s", self.room, self.role, error)
