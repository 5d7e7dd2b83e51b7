"""The one writer: a thread that commits in groups whatever waits. Must not know what mutations do or who asked."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from greenroom.clock import Clock
from greenroom.domain.errors import StoreOverloaded, StoreUnavailable
from greenroom.domain.event import Event
from greenroom.store.batch import Batch, Job, Mutation, Resolution, Settled, refusing
from greenroom.store.continuity import Continuity
from greenroom.store.engine import Engine
from greenroom.store.memory import Memory

logger = logging.getLogger("greenroom.store")

DEAD = "The store's writer has died."
NOT_DONE = "Nothing of this request was done: send it again when the server is back."
PERHAPS_DONE = "This may have been done: send it again with the same Idempotency-Key when the server is back."

T = TypeVar("T")
Publish = Callable[[Sequence[Event]], None]
Deliver = Callable[[Sequence[Resolution]], None]


def resolve_each(resolutions: Sequence[Resolution]) -> None:
    """Give every waiter its result, on the thread that calls this."""
    for resolve in resolutions:
        resolve()


class Writer:
    """Runs mutations one after another, many to a commit.

    After each commit, in commit order: effects run, then the events are published, then the futures are resolved.
    `deliver` gets all resolutions of a batch at once and calls them wherever waiters want to be woken; an event loop is
    then woken once for a batch (`call_soon_threadsafe(resolve_each, resolutions)`).
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        queue_max: int,
        batch_max: int,
        publish: Publish,
        deliver: Deliver = resolve_each,
        on_death: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.batches = 0
        self.failures = 0
        """Effects, amends, publications and deliveries that raised."""
        self._engine = engine
        self._clock = clock
        self._memory = Memory()
        self._continuity = Continuity(engine, self._apply)
        self._queue_max = queue_max
        self._batch_max = batch_max
        self.publish = publish
        self._deliver = deliver
        self._on_death = on_death
        self._queue: deque[Job[Any]] = deque()
        self._waiting = threading.Condition()
        self._refusal: str | None = "The store's writer has not been started."
        self._carrying = False
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread; from here `submit` takes mutations."""
        self._refusal = None
        self._thread.start()

    @property
    def is_started(self) -> bool:
        """Tell whether a thread does the writing (or did, until it was closed or died)."""
        return self._thread.ident is not None

    @property
    def queued(self) -> int:
        """Mutations that wait for their batch."""
        return len(self._queue)

    def submit(self, mutation: Mutation[T]) -> Future[T]:
        """Queue a mutation; its future may be cancelled until it begins. StoreOverloaded when the queue is full."""
        job = Job(mutation)
        with self._waiting:
            if self._refusal is not None:
                raise stopped(self._refusal)
            if len(self._queue) >= self._queue_max:
                raise StoreOverloaded(
                    f"{self._queue_max} changes wait to be written, which is as many as may.",
                    "Nothing of this request was done: send it again after a pause.",
                )
            self._queue.append(job)
            self._waiting.notify()
        return job.future

    def run(self, mutation: Mutation[T]) -> T:
        """Run one mutation as a batch of its own on the caller's thread."""
        return self.run_batch([mutation])[0].result()

    def run_batch(self, mutations: Sequence[Mutation[T]]) -> list[Future[T]]:
        """Run mutations as one batch on the caller's thread; the futures that come back are resolved."""
        jobs = [Job(mutation) for mutation in mutations]
        settled = self._carry(jobs)
        resolve_each(settled.resolutions)
        if settled.fatal is not None:
            raise settled.fatal
        return [job.future for job in jobs]

    @property
    def overtaken(self) -> str | None:
        """Who wrote while the store was not ours, in words: then this process knows less than the store."""
        return self._continuity.overtaken

    def catch_up(self) -> None:
        """If it is not known whether the last batch was committed, find out as soon as the store can be asked."""
        if self._continuity.doubt is not None and not self._queue and self._refusal is None:
            self.submit(lambda transaction: None)

    def refuse(self, why: str) -> None:
        """Take nothing any more and give up what is queued: the store may be somebody else's by now."""
        with self._waiting:
            self._refusal = why
            waiting = [*self._queue]
            self._queue.clear()
            self._waiting.notify()
        self._hand_out([refusing(job, stopped(why)) for job in waiting if job.claim()])

    def close(self, timeout_s: float) -> None:
        """Write what is queued, then stop."""
        with self._waiting:
            self._refusal = self._refusal or "The store is closing."
            self._waiting.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.error("the writer did not finish within %g s; %d changes were left", timeout_s, self.queued)

    def _work(self) -> None:
        jobs: list[Job[Any]] = []
        try:
            while jobs := self._next_jobs():
                settled = self._carry(jobs)
                self._hand_out(settled.resolutions)
                if settled.fatal is not None:
                    raise settled.fatal
        except BaseException:
            logger.critical("the writer died", exc_info=True)
            self._bury(jobs)
            self._on_death("writer")

    def _next_jobs(self) -> list[Job[Any]]:
        """Wait for work; whatever waits by then goes together. Empty when the writer is closing and all is written."""
        with self._waiting:
            while not self._queue and self._refusal is None:
                self._waiting.wait()
            return [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_max))]

    def _carry(self, jobs: Sequence[Job[Any]]) -> Settled:
        with self._engine.turn:
            if self._carrying:
                raise RuntimeError("a mutation or an effect ran another mutation: submit it and do not wait for it")
            self._carrying = True
            try:
                batch = Batch(self._engine, self._clock, self._memory, self._continuity)
                settled = batch.carry([job for job in jobs if job.claim()])
                if not settled.is_committed:
                    self._memory = Memory()
                self.batches += 1
                self._apply(settled)
                return settled
            finally:
                self._carrying = False

    def _apply(self, settled: Settled) -> None:
        for effect in settled.after:
            self._guarded("an effect", effect)
        if settled.events:
            self._guarded("the publication of a batch", lambda: self.publish(settled.events))

    def _hand_out(self, resolutions: Sequence[Resolution]) -> None:
        if not self._guarded("a delivery", lambda: self._deliver(resolutions)):
            resolve_each(resolutions)

    def _guarded(self, what: str, call: Callable[[], None]) -> bool:
        """Call, and when that raises log and count it: it is committed, and the others have a right to their turn."""
        try:
            call()
        except Exception:
            self.failures += 1
            logger.exception("%s failed after its commit", what)
            return False
        return True

    def _bury(self, jobs: Sequence[Job[Any]]) -> None:
        """Answer everybody who still waits, and nobody from now on."""
        with self._waiting:
            self._refusal = DEAD
            waiting = [*self._queue]
            self._queue.clear()
        unanswered = [refusing(job, stopped(DEAD)) for job in waiting if job.claim()]
        unanswered += [refusing(job, stopped(DEAD, PERHAPS_DONE)) for job in jobs if job.future.running()]
        self._hand_out(unanswered)


def stopped(detail: str, guidance: str = NOT_DONE) -> StoreUnavailable:
    return StoreUnavailable(detail, guidance)
