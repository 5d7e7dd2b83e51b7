"""Checks that the reader of an open event stream may still read it."""

from greenroom.domain.caller import Caller
from greenroom.domain.errors import NotFound, Refused
from greenroom.server.doors import Doors
from greenroom.service import events


class Permission:
    """A token's right to read one stream, or all streams (None).

    That right can end while the stream is open: the token's attempt ends, or its role is assigned to another machine.
    """

    def __init__(self, doors: Doors, caller: Caller, stream: str | None) -> None:
        self._doors = doors
        self._caller = caller
        self._stream = stream

    async def stands(self, has_news: bool) -> bool:
        """Return whether the caller may still read the stream.

        The check is made in memory where that is enough, because many readers may follow one room. An operator may read
        everything; with `has_news` (events are about to be sent) that is not looked up in the store, so that the
        operator also gets the last events of a stream that was deleted.
        """
        caller, stream = self._caller, self._stream
        if stream is None or (has_news and caller.is_operator):
            return caller.is_operator
        known = events.may_follow(self._doors.world, caller, stream)
        if known is not None:
            return known
        try:
            await self._doors.read(lambda world, reader: events.look_again(world, reader, caller, stream))
        except (NotFound, Refused):
            return False
        return True
