"""Checks once in each new writer session that the store is as this process left it, and resolves in-doubt commits.

While a session lasts no other process can write. Between two sessions a COMMIT that was not answered may have been
done, so that its callbacks are due, or another server may have written, so that this process's memory is out of date.
Every transition has an event, so the last position of the log shows which of them happened.

Limits: a batch without events cannot be found in the log. It counts as not committed, and its requests are answered
"may have been committed". What another server wrote without an event is not detected; therefore the writer discards the
rows that it cached in an earlier session.
"""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.event import Event
from greenroom.store import event_log
from greenroom.store.engine import Cursor, Engine
from greenroom.store.transaction import Reader

Outcome = TypeVar("Outcome")


class InDoubtCommit(NamedTuple, Generic[Outcome]):
    """A batch whose COMMIT was not answered: its last event, if any, and the outcome to apply in either case."""

    last_event: Event | None
    if_committed: Outcome
    if_rolled_back: Outcome


class CommitRecovery(Generic[Outcome]):
    """Keeps the last log position that this process committed, and the batch that is in doubt, if any."""

    def __init__(self, engine: Engine, apply: Callable[[Outcome], None]) -> None:
        """`apply` is called with the outcome of a resolved doubt, before anything else is written."""
        self.overtaken_by: str | None = None
        """Why this process must stop writing; None while it may write."""
        self.in_doubt: InDoubtCommit[Outcome] | None = None
        self._engine = engine
        self._apply = apply
        self._session = 0
        self._last_pos: int | None = None

    def record_commit(self, last_pos: int) -> None:
        """Record the last log position that this process committed."""
        self._last_pos = last_pos

    def check_session(self, cursor: Cursor) -> None:
        """Check that a new session finds the store unchanged, and apply the outcome of a commit that was in doubt.

        Raises StoreUnavailable, in this and every later call, when another server wrote.
        """
        outcome = self.resolve(cursor)
        if outcome is not None:
            self._apply(outcome)

    def resolve(self, cursor: Cursor) -> Outcome | None:
        """As `check_session`, but return the outcome of the commit in doubt, not apply it; None when none was."""
        if self._session == self._engine.writer_sessions:
            return None
        reader, doubt = Reader(cursor, self._engine.dialect), self.in_doubt
        stored_pos = event_log.get_last_pos(reader)
        is_done = (
            doubt is not None and doubt.last_event is not None and is_last_event(reader, doubt.last_event, stored_pos)
        )
        if not is_done and self._last_pos not in (None, stored_pos):
            self.overtaken_by = (
                f"Another server wrote to this store while this server had lost it: the last event is {stored_pos}, and"
                f" this server left it at {self._last_pos}."
            )
            raise StoreUnavailable(self.overtaken_by, "This server has stopped writing. Start it again.")
        self._session, self._last_pos, self.in_doubt = self._engine.writer_sessions, stored_pos, None
        return None if doubt is None else doubt.if_committed if is_done else doubt.if_rolled_back


def is_last_event(reader: Reader, event: Event, last_pos: int) -> bool:
    """Whether the log ends with exactly this event: another server may have written one at the same position."""
    return event.pos == last_pos and event_log.list_all_after(reader, last_pos - 1, 1) == [event]
