"""Whether the store is as this process left it, asked once of each new session. Must not know mutations or connections.

While a session lasts nobody else writes. Between two of them either may have happened: a COMMIT that was not answered
was done after all, so that its effects are due; or another server was here, so that all we remember may be wrong. A
transition always has an event, so the last place of the log tells.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.event import Event
from greenroom.store import log
from greenroom.store.engine import Cursor, Engine
from greenroom.store.transaction import Reader

Outcome = TypeVar("Outcome")


class Doubt(NamedTuple, Generic[Outcome]):
    """A batch whose COMMIT was not answered: the event it would end with, and what follows in either case."""

    last: Event | None
    done: Outcome
    undone: Outcome


class Continuity(Generic[Outcome]):
    """Knows the last place that this process committed, and a batch that may stand behind it."""

    def __init__(self, engine: Engine, apply: Callable[[Outcome], None]) -> None:
        """`apply` is called with what a doubt has come to, before anything else is written."""
        self.overtaken: str | None = None
        """Why this process must write no more, once it must not."""
        self.doubt: Doubt[Outcome] | None = None
        self._engine = engine
        self._apply = apply
        self._session = 0
        self._last_pos: int | None = None

    def committed(self, last_pos: int) -> None:
        """Take it that we wrote up to that place."""
        self._last_pos = last_pos

    def check(self, cursor: Cursor) -> None:
        """Make sure that a new session finds the store as it was, and apply what was in doubt.

        Raises StoreUnavailable, now and for ever, when somebody else wrote.
        """
        late = self.settle(cursor)
        if late is not None:
            self._apply(late)

    def settle(self, cursor: Cursor) -> Outcome | None:
        """Do as `check` does, but give back what was in doubt instead of applying it; None when nothing was."""
        if self._session == self._engine.sessions:
            return None
        reader, doubt = Reader(cursor, self._engine.dialect), self.doubt
        found = log.last_pos(reader)
        is_done = doubt is not None and doubt.last is not None and is_newest(reader, doubt.last, found)
        if not is_done and self._last_pos not in (None, found):
            self.overtaken = (
                f"Another server wrote to this store while we had lost it: it is at {found}, and we left it at"
                f" {self._last_pos}."
            )
            raise StoreUnavailable(self.overtaken, "Start the server again; it writes no more.")
        self._session, self._last_pos, self.doubt = self._engine.sessions, found, None
        return None if doubt is None else doubt.done if is_done else doubt.undone


def is_newest(reader: Reader, event: Event, last_pos: int) -> bool:
    """Tell whether the log ends with this very event: another server's may have come to the same place."""
    return event.pos == last_pos and log.all_after(reader, last_pos - 1, 1) == [event]
