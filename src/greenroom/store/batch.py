"""A batch: one database transaction that carries many mutations. Must not know threads, queues or who waits.

Each mutation has a savepoint of its own, so that one that raises takes only itself away. What cannot be undone to a
savepoint (a failed COMMIT, a full disk, a dead connection) takes the whole batch away: nobody in it is told "done".
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from greenroom.clock import Clock, now
from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.event import Event
from greenroom.store import log
from greenroom.store.continuity import Continuity, Doubt
from greenroom.store.engine import CommitUnknown, Cursor, Engine
from greenroom.store.memory import Memory
from greenroom.store.transaction import Transaction

logger = logging.getLogger("greenroom.store")

T = TypeVar("T")
Mutation = Callable[[Transaction], T]
Resolution = Callable[[], None]
"""Hands a future its result. Never raises: a claimed future cannot be cancelled, a resolved one is left alone."""

NOT_DONE = "Nothing of this request was done: send it again. If that goes on, look at the server's disk and its log."
PERHAPS_DONE = "This may have been done: send it again with the same Idempotency-Key, which then does it once only."
OVER = "this mutation has returned; its transaction cannot be used any more"


class Job(Generic[T]):
    """A mutation and the future of whoever asked for it."""

    __slots__ = ("future", "mutation")

    def __init__(self, mutation: Mutation[T]) -> None:
        self.mutation = mutation
        self.future: Future[T] = Future()

    def claim(self) -> bool:
        """Take the job on: from here its future cannot be cancelled. False when its waiter has already left."""
        return self.future.set_running_or_notify_cancel()


class Lost(Exception):
    """The batch's transaction is gone, and with it everything that was done in it."""


class Settled(NamedTuple):
    """What came of a batch. `after` holds effects and amends in commit order; `fatal` is no error but an end."""

    after: Sequence[Callable[[], None]]
    events: Sequence[Event]
    resolutions: Sequence[Resolution]
    is_committed: bool
    fatal: BaseException | None = None


class Batch:
    """Carries claimed jobs through one transaction, once."""

    def __init__(self, engine: Engine, clock: Clock, memory: Memory, continuity: Continuity[Settled]) -> None:
        """`memory` must be forgotten as a whole if the batch comes to nothing."""
        self._engine = engine
        self._clock = clock
        self._memory = memory
        self._continuity = continuity
        self._ledger = log.Ledger(memory)
        self._transactions: list[Transaction] = []
        self._after: list[Callable[[], None]] = []
        self._events: list[Event] = []
        self._resolutions: list[Resolution] = []

    def carry(self, jobs: Sequence[Job[Any]]) -> Settled:
        """Run the jobs and commit. Never raises; when it returns, the batch is durable or has left no trace.

        One case is told by the next session only: a COMMIT that was not answered. See greenroom.store.continuity.
        """
        fatal: BaseException | None = None
        is_unknown = False
        try:
            self._commit(jobs)
            return self._done()
        except Exception as error:
            cause: BaseException = error.__cause__ or error if isinstance(error, Lost) else error
            is_unknown = isinstance(error, CommitUnknown)
            # An outage may last for hours and says all in one line; anything else is a fault of ours.
            is_outage = is_unknown or self._engine.is_outage(cause)
            logger.error("a batch of %d mutations was not committed: %s", len(jobs), cause, exc_info=not is_outage)
        except BaseException as error:
            fatal = cause = error
        self._engine.abandon()
        amends = [amend for transaction in self._transactions for amend in transaction.amends]
        # What has no event cannot be found in the log: that it is not there says nothing.
        guidance = PERHAPS_DONE if is_unknown and not self._events else NOT_DONE
        undone = Settled(amends, [], refusals(jobs, cause, guidance), is_committed=False, fatal=fatal)
        if not is_unknown:
            return undone
        return self._ask(undone) or Settled([], [], refusals(jobs, cause, PERHAPS_DONE), is_committed=False)

    def _commit(self, jobs: Sequence[Job[Any]]) -> None:
        cursor = self._engine.writing()
        self._continuity.check(cursor)
        self._memory.keep_to(self._engine.sessions)
        cursor.execute(self._engine.begin_write)
        for job in jobs:
            self._attempt(job, cursor)
        self._ledger.write(self._transaction(cursor))
        cursor.execute("COMMIT")
        if self._events:
            self._continuity.committed(self._events[-1].pos)

    def _done(self) -> Settled:
        return Settled(self._after, self._events, self._resolutions, is_committed=True)

    def _ask(self, undone: Settled) -> Settled | None:
        """Ask a new session whether a COMMIT was done that was not answered; None when only a later one will tell."""
        last = self._events[-1] if self._events else None
        self._continuity.doubt = Doubt(last, self._done(), undone)
        try:
            return self._continuity.settle(self._engine.writing())
        except Exception as error:
            logger.error("whether the last batch was committed is not known yet: %s", error)
            return None

    def _transaction(self, cursor: Cursor) -> Transaction:
        return Transaction(cursor, self._engine.dialect, now(self._clock), self._memory, self._ledger.unwritten)

    def _attempt(self, job: Job[Any], cursor: Cursor) -> None:
        """Run one mutation in its savepoint."""
        transaction = self._transaction(cursor)
        self._transactions.append(transaction)
        cursor.execute("SAVEPOINT mutation")
        try:
            result = job.mutation(transaction)
            if transaction.failure is not None:
                raise transaction.failure
            cursor.settle()
            events = self._ledger.enter(transaction)
        except Exception as error:
            cause = transaction.failure or error
            if self._engine.is_outage(cause) or not self._engine.in_transaction():
                raise Lost from cause
            cursor.execute("ROLLBACK TO SAVEPOINT mutation")
            self._memory.forget_rows()
            self._after += transaction.amends
            self._resolutions.append(refusing(job, error))
        else:
            self._events += events
            self._after += transaction.effects
            self._resolutions.append(answering(job, result))
        finally:
            transaction.end(OVER)
        cursor.execute("RELEASE SAVEPOINT mutation")


def answering(job: Job[T], result: T) -> Resolution:
    return lambda: None if job.future.done() else job.future.set_result(result)


def refusing(job: Job[Any], error: BaseException) -> Resolution:
    return lambda: None if job.future.done() else job.future.set_exception(error)


def refusals(jobs: Sequence[Job[Any]], cause: BaseException, guidance: str) -> list[Resolution]:
    return [refusing(job, unavailable(cause, guidance)) for job in jobs]


def unavailable(cause: BaseException, guidance: str) -> StoreUnavailable:
    """The error for a request whose transaction was lost; one for each, as an exception keeps a traceback."""
    error = StoreUnavailable(f"The store could not commit ({cause}).", guidance)
    error.__cause__ = cause
    return error
