"""Measures the store without HTTP: mutations of a real use case through the writer's thread."""

import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench.table import BenchmarkResult, Comparison, Row
from greenroom.clock import SystemClock
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.domain.principal import OPERATOR_PRINCIPAL
from greenroom.entropy import SystemEntropy
from greenroom.service import messages, rooms
from greenroom.service.context import ServiceContext
from greenroom.service.startup import start_context
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from greenroom.wire.replies import MessageReply
from greenroom.wire.requests import CreateRoom, SendMessage

IN_FLIGHT: Final = 32
SECONDS: Final = 4.0
MESSAGE: Final = SendMessage(sender="user", text="Tidy up the third shelf.")


def measure() -> BenchmarkResult:
    """Send messages, each of which opens a task: one at a time, then 32 in flight."""
    with open_context() as alone:
        one = measure_rate(alone, 1)
    with open_context() as loaded:
        many = measure_rate(loaded, IN_FLIGHT)
        per_commit = loaded.store.writer.batches
    row = Row(
        label=f"mutations of the store (a message that opens a task), {IN_FLIGHT} in flight",
        figure=many,
        unit="mutations/s",
        comparison=Comparison("one at a time", one),
    )
    return BenchmarkResult(
        (row,), (f"{many * SECONDS / per_commit:.0f} mutations to a commit with {IN_FLIGHT} in flight",)
    )


@contextmanager
def open_context() -> Iterator[ServiceContext]:
    """A service context on an empty store in a file."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        clock = SystemClock()
        with closing(Store.open(Path(folder), clock)) as store:
            yield start_context(store, clock, SystemEntropy(), DEFAULT_LIMITS)


def measure_rate(context: ServiceContext, in_flight: int) -> float:
    """Mutations per second of `in_flight` streams, each of which sends its next one as soon as the last is durable."""
    names = [f"room{number}" for number in range(in_flight)]
    for name in names:
        context.store.run(partial(open_room, context, name))
    began_at = time.perf_counter()
    streams = [MessageStream(context, name, began_at + SECONDS) for name in names]
    for stream in streams:
        stream.submit()
    for stream in streams:
        stream.ended.wait()
    passed_s = time.perf_counter() - began_at
    failed = [stream.failure for stream in streams if stream.failure is not None]
    if failed:
        raise failed[0]
    return sum(stream.count for stream in streams) / passed_s


def open_room(context: ServiceContext, name: str, tx: Transaction) -> None:
    rooms.create(context, tx, OPERATOR_PRINCIPAL, CreateRoom(name=name, roles=["builder"]))


class MessageStream:
    """Sends one message after another in one room."""

    def __init__(self, context: ServiceContext, room: str, ends_at: float) -> None:
        self.count = 0
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self._context = context
        self._room = room
        self._ends_at = ends_at

    def submit(self) -> None:
        self._context.store.write(
            lambda tx: messages.send(self._context, tx, OPERATOR_PRINCIPAL, self._room, MESSAGE)
        ).add_done_callback(self._done)

    def _done(self, future: Future[MessageReply]) -> None:
        self.failure = future.exception()
        if self.failure is not None or time.perf_counter() >= self._ends_at:
            self.ended.set()
            return
        self.count += 1
        self.submit()
