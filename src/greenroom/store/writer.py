"""Runs the one writer thread, which commits all queued mutations in groups (group commit).

Options: `queue_max` (limit `writer_queue_max`) mutations may wait; `batch_max` (`writer_batch_max`) share one commit,
or as many as a transaction of the engine may have savepoints, if that is less.
Metrics: `greenroom_writer_queue`, `greenroom_writer_batches_total`, `greenroom_writer_failures_total`.
Limits: one thread and one process write. When the thread fails the store takes no more mutations until a restart.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from greenroom.clock import Clock
from greenroom.domain.errors import StoreOverloaded, StoreUnavailable
from greenroom.domain.event import Event
from greenroom.store.commit_recovery import CommitRecovery
from greenroom.store.engine import Engine
from greenroom.store.group_commit import Batch, BatchResult, Job, Mutation, Resolution, resolve_with_error
from greenroom.store.read_cache import ReadCache

logger = logging.getLogger("greenroom.store.writer")

WRITER_FAILED = "The store's writer thread has failed."
NOTHING_WRITTEN = "Nothing was written. Send the request again when the server is available again."
MAYBE_COMMITTED = (
    "The change may have been committed. Send the request again with the same Idempotency-Key when the server is"
    " available again."
)

T = TypeVar("T")
Publish = Callable[[Sequence[Event]], None]
Deliver = Callable[[Sequence[Resolution]], None]


def resolve_all(resolutions: Sequence[Resolution]) -> None:
    """Resolve every future of a batch, on the calling thread."""
    for resolve in resolutions:
        resolve()


class Writer:
    """Runs mutations one after another, many to a commit.

    After each commit, in commit order: callbacks run, then the events are published, then the futures are resolved.
    `deliver` gets all resolutions of a batch at once and calls them on the thread of its choice, so that an event loop
    is woken once for a batch (`call_soon_threadsafe(resolve_each, resolutions)`).
    `on_failure` is called with the thread's name when the thread fails.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        queue_max: int,
        batch_max: int,
        publish: Publish,
        deliver: Deliver = resolve_all,
        on_failure: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.batches = 0
        self.callback_failures = 0
        """How many callbacks, publications and deliveries raised."""
        self._engine = engine
        self._clock = clock
        self._read_cache = ReadCache()
        self._recovery = CommitRecovery(engine, self._apply)
        self._queue_max = queue_max
        self._batch_max = min(batch_max, engine.savepoints_max or batch_max)  # each mutation has a savepoint
        self.publish = publish
        self._deliver = deliver
        self._on_failure = on_failure
        self._queue: deque[Job[Any]] = deque()
        self._queue_changed = threading.Condition()
        self._refusal: str | None = "The store's writer has not been started."
        self._is_running = False
        self._thread = threading.Thread(target=self._run_thread, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread; `submit` takes mutations from now on."""
        self._refusal = None
        self._thread.start()

    @property
    def is_started(self) -> bool:
        """Whether the thread was started, also if it has since stopped or failed."""
        return self._thread.ident is not None

    @property
    def queued(self) -> int:
        """How many mutations wait for a batch."""
        return len(self._queue)

    def submit(self, mutation: Mutation[T]) -> Future[T]:
        """Queue a mutation; its future can be cancelled until the mutation begins.

        Raises StoreOverloaded when the queue is full and StoreUnavailable when the writer takes no more mutations.
        """
        job = Job(mutation)
        with self._queue_changed:
            if self._refusal is not None:
                raise writer_stopped_error(self._refusal)
            if len(self._queue) >= self._queue_max:
                raise StoreOverloaded(
                    f"Write queue is full ({self._queue_max} waiting).",
                    "Nothing was written. Send the request again after a pause.",
                )
            self._queue.append(job)
            self._queue_changed.notify()
        return job.future

    def run(self, mutation: Mutation[T]) -> T:
        """Run one mutation as a batch of its own on the calling thread."""
        return self.run_batch([mutation])[0].result()

    def run_batch(self, mutations: Sequence[Mutation[T]]) -> list[Future[T]]:
        """Run mutations as one batch on the calling thread; the returned futures are resolved."""
        jobs = [Job(mutation) for mutation in mutations]
        result = self._run_jobs(jobs)
        resolve_all(result.resolutions)
        if result.fatal is not None:
            raise result.fatal
        return [job.future for job in jobs]

    @property
    def overtaken_by(self) -> str | None:
        """That another server wrote meanwhile, as an error text: this process's memory is then out of date."""
        return self._recovery.overtaken_by

    def resolve_doubt(self) -> None:
        """If the last commit is in doubt and nothing is queued, queue an empty mutation, which resolves the doubt."""
        if self._recovery.in_doubt is not None and not self._queue and self._refusal is None:
            self.submit(lambda transaction: None)

    def stop_accepting(self, reason: str) -> None:
        """Stop taking mutations and fail all queued ones with StoreUnavailable: another server may hold the store."""
        self._deliver_resolutions(self._refuse_jobs(reason))

    def close(self, timeout_s: float) -> None:
        """Write all queued mutations, then stop. Waits up to `timeout_s` seconds for the thread."""
        with self._queue_changed:
            self._refusal = self._refusal or "The store is closing."
            self._queue_changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.error(
                    "writer not stopped: %d mutations still queued: not finished within %g s", self.queued, timeout_s
                )

    def _run_thread(self) -> None:
        jobs: list[Job[Any]] = []
        try:
            while jobs := self._next_jobs():
                result = self._run_jobs(jobs)
                self._deliver_resolutions(result.resolutions)
                if result.fatal is not None:
                    raise result.fatal
        except BaseException:
            logger.critical("thread failed: writer", exc_info=True)
            self._fail_jobs(jobs)
            self._on_failure("writer")

    def _next_jobs(self) -> list[Job[Any]]:
        """Wait for mutations and take up to `batch_max` of them. Empty when the writer closes and all are written."""
        with self._queue_changed:
            while not self._queue and self._refusal is None:
                self._queue_changed.wait()
            return [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_max))]

    def _run_jobs(self, jobs: Sequence[Job[Any]]) -> BatchResult:
        with self._engine.write_lock:
            if self._is_running:
                raise RuntimeError("a mutation or a callback ran another mutation: submit it without waiting for it")
            self._is_running = True
            try:
                batch = Batch(self._engine, self._clock, self._read_cache, self._recovery)
                result = batch.run([job for job in jobs if job.claim()])
                if not result.is_committed:
                    self._read_cache = ReadCache()
                self.batches += 1
                self._apply(result)
                return result
            finally:
                self._is_running = False

    def _apply(self, result: BatchResult) -> None:
        for callback in result.callbacks:
            self._call_guarded("callback of a batch", callback)
        if result.events:
            self._call_guarded("publication of events", lambda: self.publish(result.events))

    def _deliver_resolutions(self, resolutions: Sequence[Resolution]) -> None:
        if not self._call_guarded("delivery of results", lambda: self._deliver(resolutions)):
            resolve_all(resolutions)

    def _call_guarded(self, name: str, call: Callable[[], None]) -> bool:
        """Call, and log and count an exception, so that the remaining calls still run."""
        try:
            call()
        except Exception:
            self.callback_failures += 1
            logger.exception("%s failed", name)
            return False
        return True

    def _fail_jobs(self, jobs: Sequence[Job[Any]]) -> None:
        """Fail every queued and every running mutation, and refuse later ones."""
        maybe_committed = writer_stopped_error(WRITER_FAILED, MAYBE_COMMITTED)
        running = [resolve_with_error(job, maybe_committed) for job in jobs if job.future.running()]
        self._deliver_resolutions(self._refuse_jobs(WRITER_FAILED) + running)

    def _refuse_jobs(self, reason: str) -> list[Resolution]:
        """Refuse later mutations, empty the queue, and return the failures of what was in it."""
        with self._queue_changed:
            self._refusal = reason
            queued_jobs = [*self._queue]
            self._queue.clear()
            self._queue_changed.notify()
        return [resolve_with_error(job, writer_stopped_error(reason)) for job in queued_jobs if job.claim()]


def writer_stopped_error(detail: str, guidance: str = NOTHING_WRITTEN) -> StoreUnavailable:
    return StoreUnavailable(detail, guidance)
