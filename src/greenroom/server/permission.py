"""Checks that the reader of an open event stream may still read it."""

from greenroom.domain.caller import Caller
from greenroom.domain.errors import NotFound, Refused
from greenroom.server.doors import Doors
from greenroom.service import events


class Permission:
    """A token's right to read one stream, or all streams (None).

    That right can end while the stream is open: the token's attempt ends, or its role is assigned to another machine.
    """

    def __init__(self, server: Doors, principal: Caller, stream: str | None) -> None:
        self._server = server
        self._principal = principal
        self._stream = stream

    async def stands(self, has_news: bool) -> bool:
        """Return whether the caller may still read the stream.

        The check is made in memory where that is enough, because many readers may follow one room. An operator may read
        everything; with `has_news` (events are about to be sent) that is not looked up in the store, so that the
        operator also gets the last events of a stream that was deleted.
        """
        principal, stream = self._principal, self._stream
        if stream is None or (has_news and principal.is_operator):
            return principal.is_operator
        is_allowed = events.may_follow(self._server.world, principal, stream)
        if is_allowed is not None:
            return is_allowed
        try:
            await self._server.read(lambda world, reader: events.look_again(world, reader, principal, stream))
        except (NotFound, Refused):
            return False
        return True
