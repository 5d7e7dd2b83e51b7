"""In a running server, each object of shared memory is changed only by the threads that its class permits."""

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom.domain.limits import Limits
from greenroom.server.wakeups import ResultDelivery
from greenroom.service.state.late_loops import LateLoops
from greenroom.service.state.retention_state import BatchProgress, LongStreams, RetentionState
from greenroom.service.state.room_cache import RoomCache
from greenroom.service.state.sweep_state import SweepCounters, SweepState
from greenroom.service.state.thread_rules import LoopOnly, WriterOnly
from greenroom.store.store import Store
from greenroom.store.writer import Deliver, resolve_all
from greenroom.testing import MovedClock
from tests.architecture.thread_rules import changing_methods
from tests.architecture.tree import Source
from tests.service.in_process_server import InProcessServer

LOOP, WRITER = "MainThread", "writer"
LOOP_ONLY = (SweepState, RetentionState, LateLoops)
WRITER_ONLY = (SweepCounters, BatchProgress, LongStreams, RoomCache)
LIMITS = Limits(
    claim_wait_max_s=0.05, assignments_wait_max_s=0.05, events_kept_max=3, retention_interval_s=10, events_kept_s=86400
)
Threads = dict[type[Any], set[str]]


def test_classes_are_complete() -> None:
    assert set(LOOP_ONLY) == set(LoopOnly.__subclasses__())
    assert set(WRITER_ONLY) == set(WriterOnly.__subclasses__())


def record_threads(patch: pytest.MonkeyPatch, item: type[Any], threads: set[str]) -> None:
    """Record which threads replace an attribute of an object, or call a method that changes it."""
    set_original: Any = item.__setattr__

    def set_attribute(self: object, name: str, value: object) -> None:
        if hasattr(self, name):  # The first value is set by whatever makes the object.
            threads.add(threading.current_thread().name)
        set_original(self, name, value)

    def watched(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            threads.add(threading.current_thread().name)
            return method(*arguments)

        return call

    patch.setattr(item, "__setattr__", set_attribute)
    source = Source(inspect.getfile(item), Path(inspect.getfile(item)).read_text("utf-8"))
    for name in changing_methods(source, item.__name__):
        patch.setattr(item, name, watched(getattr(item, name)))


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    recorded: Threads = {item: set() for item in (*LOOP_ONLY, *WRITER_ONLY)}
    for item, names in recorded.items():
        record_threads(monkeypatch, item, names)
    return recorded


def run_server(tmp_path: Path, threads: Threads, deliver: Deliver | None = None) -> None:
    """Let a server with a writer's thread do all that changes its memory; by default results go to the event loop."""
    clock, delivery = MovedClock(), ResultDelivery()
    store = Store.open(tmp_path, clock, limits=LIMITS, deliver=deliver or delivery.deliver)
    with InProcessServer(LIMITS, store, clock) as server, delivery.attach(server.event_loop):
        for names in threads.values():
            names.clear()  # Startup may change all memory.
        server.create_room()
        server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
        for incarnation in ("i1", "i2", "i1"):
            server.post("/api/v1/machines/m1/heartbeat", {"incarnation": incarnation})
        server.join()
        for _ in range(2):
            server.send_message()
        assert 200 == server.claim().status
        server.context.background.record.late_after_s = -1.0
        server.pass_time(2)  # Late at two looks, which is recorded.
        for _ in range(4):
            server.pass_time(100)
            server.send_message()  # When it is answered, what the sweep and retention wrote before it is committed.
        counters = server.service_context.sweep_counters
        assert (counters.expired, counters.disconnected, counters.released) == (1, 1, 1)


def test_each_thread_changes_only_its_own(tmp_path: Path, threads: Threads) -> None:
    run_server(tmp_path, threads)

    assert [{LOOP}] * len(LOOP_ONLY) == [threads[item] for item in LOOP_ONLY]
    assert [{WRITER}] * len(WRITER_ONLY) == [threads[item] for item in WRITER_ONLY]


def test_change_by_another_thread_is_seen(tmp_path: Path, threads: Threads) -> None:
    """Futures that are resolved on the writer's thread run the callbacks of the sweep there."""
    run_server(tmp_path, threads, deliver=resolve_all)

    assert {LOOP, WRITER} == threads[SweepState]
