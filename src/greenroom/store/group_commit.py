"""Runs a batch: one database transaction with many mutations, each in a savepoint.

A batch has five outcomes:

- committed: commit callbacks run, events are published, futures resolve. A mutation that raised is rolled back to its
  savepoint and fails alone: its rollback callbacks run, and the other mutations are committed.
- not committed (a full disk, a lost connection, a failed COMMIT): all rollback callbacks run, and every future fails
  with StoreUnavailable.
- COMMIT not answered, and a new session finds that it was done: as committed.
- COMMIT not answered, and a new session finds that it was not done: as not committed.
- COMMIT not answered, and the database cannot be queried yet: every future fails with "may have been committed", and
  the callbacks run when `greenroom.store.commit_recovery` finds out.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from greenroom.clock import Clock, now
from greenroom.domain.errors import StoreUnavailable
from greenroom.domain.event import Event
from greenroom.store import event_log
from greenroom.store.commit_recovery import CommitRecovery, InDoubtCommit
from greenroom.store.engine import CommitInDoubt, Cursor, Engine
from greenroom.store.read_cache import ReadCache
from greenroom.store.transaction import Transaction

logger = logging.getLogger("greenroom.store.group_commit")

T = TypeVar("T")
Mutation = Callable[[Transaction], T]
Resolution = Callable[[], None]
"""Sets the result of a future. Never raises: a claimed future cannot be cancelled, a resolved one is left as it is."""

NOTHING_WRITTEN = (
    "Nothing was written. Send the request again; if it keeps failing, check the server's disk (or PostgreSQL) and its"
    " log."
)
MAYBE_COMMITTED = (
    "The change may have been committed. Send the request again with the same Idempotency-Key, so that it is done only"
    " once."
)
MUTATION_ENDED = "this mutation has returned: its transaction cannot be used any more"


class Job(Generic[T]):
    """A mutation and the future of its result."""

    __slots__ = ("future", "mutation")

    def __init__(self, mutation: Mutation[T]) -> None:
        self.mutation = mutation
        self.future: Future[T] = Future()

    def claim(self) -> bool:
        """Mark the job as running: its future can no longer be cancelled. False when it was cancelled before."""
        return self.future.set_running_or_notify_cancel()


class TransactionLost(Exception):
    """The transaction of a batch was lost, with everything that was done in it."""


class BatchResult(NamedTuple):
    """The outcome of a batch.

    `callbacks` are the commit and rollback callbacks to call, in commit order. `fatal` is an exception that must end
    the thread (SystemExit, KeyboardInterrupt), not an error of a mutation.
    """

    callbacks: Sequence[Callable[[], None]]
    events: Sequence[Event]
    resolutions: Sequence[Resolution]
    is_committed: bool
    fatal: BaseException | None = None


class Batch:
    """Runs claimed jobs in one transaction. For one use."""

    def __init__(self, engine: Engine, clock: Clock, cache: ReadCache, recovery: CommitRecovery[BatchResult]) -> None:
        """`cache` must be discarded as a whole if the batch is not committed."""
        self._engine = engine
        self._clock = clock
        self._cache = cache
        self._recovery = recovery
        self._sequences = event_log.SequenceAllocator(cache)
        self._transactions: list[Transaction] = []
        self._callbacks: list[Callable[[], None]] = []
        self._events: list[Event] = []
        self._resolutions: list[Resolution] = []

    def run(self, jobs: Sequence[Job[Any]]) -> BatchResult:
        """Run the jobs and commit. Never raises; when it returns, the batch is durable or rolled back.

        The exception is a COMMIT that was not answered: a later session resolves it
        (`commit_recovery`).
        """
        fatal: BaseException | None = None
        is_unknown = False
        try:
            self._commit(jobs)
            return self._committed_result()
        except Exception as error:
            cause: BaseException = error.__cause__ or error if isinstance(error, TransactionLost) else error
            is_unknown = isinstance(error, CommitInDoubt)
            # An outage may last for hours, and one line describes it; anything else is a bug and gets a traceback.
            is_outage = is_unknown or self._engine.is_outage(cause)
            logger.error("batch not committed: %d mutations: %s", len(jobs), cause, exc_info=not is_outage)
        except BaseException as error:
            fatal = cause = error
        self._engine.rollback()
        callbacks = [callback for transaction in self._transactions for callback in transaction.rollback_callbacks]
        # A batch without events leaves nothing in the log, so the log cannot show that it was not committed.
        guidance = MAYBE_COMMITTED if is_unknown and not self._events else NOTHING_WRITTEN
        rolled_back = BatchResult(
            callbacks, [], resolve_all_with_error(jobs, cause, guidance), is_committed=False, fatal=fatal
        )
        if not is_unknown:
            return rolled_back
        return self._resolve_doubt(rolled_back) or BatchResult(
            [], [], resolve_all_with_error(jobs, cause, MAYBE_COMMITTED), is_committed=False
        )

    def _commit(self, jobs: Sequence[Job[Any]]) -> None:
        cursor = self._engine.writer_cursor()
        self._recovery.check_session(cursor)
        self._cache.begin_session(self._engine.writer_sessions)
        cursor.execute(self._engine.begin_write_sql)
        for job in jobs:
            self._run_job(job, cursor)
        self._sequences.write(self._new_transaction(cursor))
        cursor.execute("COMMIT")
        if self._events:
            self._recovery.record_commit(self._events[-1].pos)

    def _committed_result(self) -> BatchResult:
        return BatchResult(self._callbacks, self._events, self._resolutions, is_committed=True)

    def _resolve_doubt(self, rolled_back: BatchResult) -> BatchResult | None:
        """Query in a new session whether an unanswered COMMIT was done; None when no session can be opened yet."""
        last = self._events[-1] if self._events else None
        self._recovery.in_doubt = InDoubtCommit(last, self._committed_result(), rolled_back)
        try:
            return self._recovery.resolve(self._engine.writer_cursor())
        except Exception as error:
            logger.error("commit in doubt: last batch: %s", error)
            return None

    def _new_transaction(self, cursor: Cursor) -> Transaction:
        return Transaction(cursor, self._engine.dialect, now(self._clock), self._cache, self._sequences.count_unwritten)

    def _run_job(self, job: Job[Any], cursor: Cursor) -> None:
        """Run one mutation in its savepoint."""
        transaction = self._new_transaction(cursor)
        self._transactions.append(transaction)
        cursor.execute("SAVEPOINT mutation")
        try:
            result = job.mutation(transaction)
            if transaction.statement_error is not None:
                raise transaction.statement_error
            cursor.flush()
            events = self._sequences.assign_numbers(transaction)
        except Exception as error:
            cause = transaction.statement_error or error
            if self._engine.is_outage(cause) or not self._engine.in_transaction():
                raise TransactionLost from cause
            cursor.execute("ROLLBACK TO SAVEPOINT mutation")
            self._cache.discard_rows()
            self._callbacks += transaction.rollback_callbacks
            self._resolutions.append(resolve_with_error(job, error))
        else:
            self._events += events
            self._callbacks += transaction.commit_callbacks
            self._resolutions.append(resolve_with_result(job, result))
        finally:
            transaction.close(MUTATION_ENDED)
        cursor.execute("RELEASE SAVEPOINT mutation")


def resolve_with_result(job: Job[T], result: T) -> Resolution:
    return lambda: None if job.future.done() else job.future.set_result(result)


def resolve_with_error(job: Job[Any], error: BaseException) -> Resolution:
    return lambda: None if job.future.done() else job.future.set_exception(error)


def resolve_all_with_error(jobs: Sequence[Job[Any]], cause: BaseException, guidance: str) -> list[Resolution]:
    return [resolve_with_error(job, commit_failed_error(cause, guidance)) for job in jobs]


def commit_failed_error(cause: BaseException, guidance: str) -> StoreUnavailable:
    """The error for a request whose transaction was lost; one for each job, as an exception keeps a traceback."""
    error = StoreUnavailable(f"The store could not commit ({cause}).", guidance)
    error.__cause__ = cause
    return error
