"""Whether whoever follows a stream may go on. Knows when to ask the store; must not know streams over HTTP."""

from greenroom.domain.caller import Caller
from greenroom.domain.errors import NotFound, Refused
from greenroom.server.doors import Doors
from greenroom.service import events


class Permission:
    """What a token may read can end while a stream is open: its attempt ends, its role is wished elsewhere."""

    def __init__(self, doors: Doors, caller: Caller, stream: str | None) -> None:
        self._doors = doors
        self._caller = caller
        self._stream = stream

    async def stands(self, has_news: bool) -> bool:
        """Look again, as at the beginning: in memory where that is enough, since many may follow one room.

        An operator may read everything, and so is told also the last of what was deleted (`has_news`).
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
