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
from greenroom.store.engine import Cursor, Engine
from greenroom.store.transaction import Transaction

logger = logging.getLogger("greenroom.store")

T = TypeVar("T")
Mutation = Callable[[Transaction], T]
Resolution = Callable[[], None]
"""Hands a future its result. Never raises: a claimed future cannot be cancelled, a resolved one is left alone."""

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
    fatal: BaseException | None = None


class Batch:
    """Carries claimed jobs through one transaction, once."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._transactions: list[Transaction] = []
        self._after: list[Callable[[], None]] = []
        self._events: list[Event] = []
        self._resolutions: list[Resolution] = []

    def carry(self, jobs: Sequence[Job[Any]]) -> Settled:
        """Run the jobs and commit. Never raises; when it returns, the batch is durable or has left no trace."""
        fatal: BaseException | None = None
        try:
            self._commit(jobs)
            return Settled(self._after, self._events, self._resolutions)
        except Exception as error:
            logger.exception("a batch of %d mutations was not committed", len(jobs))
            cause: BaseException = error.__cause__ or error if isinstance(error, Lost) else error
        except BaseException as error:
            fatal = cause = error
        self._engine.abandon()
        amends = [amend for transaction in self._transactions for amend in transaction.amends]
        return Settled(amends, [], [refusing(job, unavailable(cause)) for job in jobs], fatal)

    def _commit(self, jobs: Sequence[Job[Any]]) -> None:
        cursor = self._engine.writing()
        cursor.execute(self._engine.begin_write)
        counter = Transaction(cursor, self._engine.dialect, now(self._clock))
        first_pos = last_pos = log.last_pos(counter)
        for job in jobs:
            last_pos += self._attempt(job, cursor, last_pos)
        if last_pos > first_pos:
            log.save_pos(counter, last_pos)
        cursor.execute("COMMIT")

    def _attempt(self, job: Job[Any], cursor: Cursor, last_pos: int) -> int:
        """Run one mutation in its savepoint; the number of places in commit order that it took."""
        transaction = Transaction(cursor, self._engine.dialect, now(self._clock))
        self._transactions.append(transaction)
        cursor.execute("SAVEPOINT mutation")
        try:
            result = job.mutation(transaction)
            if transaction.failure is not None:
                raise transaction.failure
            events = log.append(transaction, last_pos)
        except Exception as error:
            cause = transaction.failure or error
            if self._engine.is_outage(cause) or not self._engine.in_transaction():
                raise Lost from cause
            cursor.execute("ROLLBACK TO SAVEPOINT mutation")
            self._after += transaction.amends
            self._resolutions.append(refusing(job, error))
            events = []
        else:
            self._after += transaction.effects
            self._resolutions.append(answering(job, result))
        finally:
            transaction.end(OVER)
        cursor.execute("RELEASE SAVEPOINT mutation")
        self._events += events
        return len(events)


def answering(job: Job[T], result: T) -> Resolution:
    return lambda: None if job.future.done() else job.future.set_result(result)


def refusing(job: Job[Any], error: BaseException) -> Resolution:
    return lambda: None if job.future.done() else job.future.set_exception(error)


def unavailable(cause: BaseException) -> StoreUnavailable:
    """The error for a request whose transaction was lost; one for each, as an exception keeps a traceback."""
    error = StoreUnavailable(
        f"The store could not commit ({cause}).",
        "Nothing of this request was done: send it again. If that goes on, look at the server's disk and its log.",
    )
    error.__cause__ = cause
    return error
