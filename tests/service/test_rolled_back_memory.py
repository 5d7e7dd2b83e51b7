"""A mutation that is not committed leaves no trace in the memory of the server, either."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from greenroom.domain import sweep_policy
from greenroom.service import retention, sweeper
from greenroom.service.context import ServiceContext
from greenroom.service.state.lease_table import role_key
from greenroom.store.group_commit import Mutation
from greenroom.store.transaction import Transaction
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService

DAY_S = 86400.0
MEMORY = (
    *("room_cache", "leases", "event_buffer", "sweep", "sweep_counters", "silent_senders", "cloned_machines"),
    *("takeover_holds", "unattended", "late_loops", "retention", "long_streams"),
)
"""The fields of the context that follow from the store. The cache of tokens does not: any of its tokens is valid."""


class NotCommitted(Exception):
    """Why a mutation is rolled back."""


def describe(item: Any) -> Any:
    """An object of memory as plain values that can be compared."""
    if isinstance(item, dict):
        return {key: describe(value) for key, value in item.items()}
    if isinstance(item, list | tuple | deque):
        return [describe(value) for value in item]
    if isinstance(item, msgspec.Struct):
        return {name: describe(getattr(item, name)) for name in item.__struct_fields__}
    if type(item).__module__.startswith("greenroom.") and not isinstance(item, tuple):
        names = getattr(item, "__slots__", None) or vars(item)
        return {name: describe(getattr(item, name)) for name in names}
    return None if isinstance(item, type(threading.Lock())) else item.copy() if isinstance(item, set) else item


def describe_memory(context: ServiceContext) -> dict[str, Any]:
    return {name: describe(getattr(context, name)) for name in MEMORY}


@contextmanager
def rolled_back(service: InProcessService, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each mutation do its work, and then fail."""
    run_batch = service.store.writer.run_batch

    def failing(mutation: Mutation[Any]) -> Mutation[Any]:
        def run(tx: Transaction) -> Any:
            mutation(tx)
            raise NotCommitted

        return run

    with patch.context() as within:
        within.setattr(service.store.writer, "run_batch", lambda mutations: run_batch([*map(failing, mutations)]))
        with pytest.raises(NotCommitted):
            yield


def make_report(**fields: Any) -> AgentReport:
    return AgentReport(**({"id": "x1", "room": "r", "role": "builder", "connection_id": "A"} | fields))


def sweep_all(service: InProcessService) -> None:
    reviewer, task = role_key(service.show_room().id, "reviewer"), next(iter(service.context.leases.timers))
    plan = sweep_policy.SweepBatch(participants=(reviewer,), machines=("m1",), tasks=(task,))
    service.run_mutation(lambda tx: sweeper.cleanup_stale_agents(service.context, plan, tx))


def delete_batch(service: InProcessService) -> None:
    state = service.context.retention
    state.steps.extend(retention.STEPS)
    progress = state.begin_batch()
    service.context.long_streams.add(["machine:m1"])
    try:
        service.run_mutation(lambda tx: retention.delete_batch(service.context, progress, tx))
    finally:
        assert not progress.steps, "the batch did nothing"
        assert [*retention.STEPS] == [*state.steps]
        assert "machine:m1" in service.context.long_streams.list_all()
        state.steps.clear()
        service.context.long_streams.discard("machine:m1")


def task_of(service: InProcessService) -> str:
    held = service.context.leases.participants[role_key(service.show_room().id, "builder")].task
    assert held is not None
    return held.id


Action = Callable[[InProcessService], object]
ACTIONS: dict[str, Action] = {
    "join": lambda service: service.join("tester", "D"),
    "takeover": lambda service: service.join("builder", "E"),
    "leave": lambda service: service.leave("builder", "A"),
    "message": lambda service: service.send_message(to="tester"),
    "add note": lambda service: service.add_note(task_of(service)),
    "complete": lambda service: service.complete(task_of(service), "A", 1),
    "cancel": lambda service: service.cancel(task_of(service)),
    "change room": lambda service: service.change_room(name="s"),
    "create room": lambda service: service.create_room("s"),
    "assign": lambda service: service.set_agent_spec("tester"),
    "newer daemon": lambda service: service.beat_machine(incarnation="i3"),
    "older daemon": lambda service: service.beat_machine(incarnation="i1"),
    "daemon leaves": lambda service: service.beat_machine(incarnation="i2", leaving=True),
    "delete machine": lambda service: service.delete_machine(),
    "exit reported": lambda service: service.send_reports(make_report(kind="exited", code=1), incarnation="i2"),
    "sweep": sweep_all,
    "retention": delete_batch,
}


def make_service() -> InProcessService:
    """A busy room: A works, B is silent, C is absent and its task's release timer has run out; and a silent machine."""
    service = InProcessService()
    service.create_room(roles=("builder", "reviewer", "writer", "tester"), max_requests=9)
    service.register_machine()
    service.beat_machine(incarnation="i1")
    service.beat_machine(incarnation="i2")
    service.join_and_claim("writer", "C")
    service.pass_time(service.limits.heartbeat_ttl_s + 2)
    service.beat_machine(incarnation="i2")
    service.join_and_claim("builder", "A")
    service.join("reviewer", "B")
    for _ in range(8):  # Without a sweep, which would record all that.
        service.clock.advance(60)
        service.beat("builder", "A")
    return service


@pytest.mark.parametrize("action", ACTIONS)
def test_memory_unchanged_by_rollback(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service()
    before = describe_memory(service.context)

    with rolled_back(service, monkeypatch):
        ACTIONS[action](service)

    assert before == describe_memory(service.context)


@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "retention"])
def test_memory_changed_by_commit(action: str) -> None:
    """So that each of these actions has something to undo."""
    service = make_service()
    before = describe_memory(service.context)

    ACTIONS[action](service)

    after = describe_memory(service.context)
    assert [name for name in MEMORY if before[name] != after[name] and name != "event_buffer"]


def test_rolled_back_call_renews_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease says that its holder is alive, and the call has shown that."""
    service = make_service()
    key, task = role_key(service.show_room().id, "builder"), task_of(service)
    service.clock.advance(60)
    before = describe_memory(service.context)
    deadline = before["leases"]["participants"][key]["deadline"]

    with rolled_back(service, monkeypatch):
        service.start(task, "A", 1)

    assert deadline + 60 == service.context.leases.participants[key].deadline
    service.context.leases.participants[key].deadline = deadline
    service.context.leases.heard_at = before["leases"]["heard_at"]
    assert before == describe_memory(service.context), "nothing else has changed"


def test_sweep_counts_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service()
    before = describe(service.context.sweep_counters)
    for _ in range(3):
        with rolled_back(service, monkeypatch):
            sweep_all(service)
    sweep_all(service)

    assert before == {"expired": 1, "disconnected": 0, "released": 0}
    assert describe(service.context.sweep_counters) == {"expired": 2, "disconnected": 1, "released": 1}
