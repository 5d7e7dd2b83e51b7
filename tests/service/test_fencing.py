"""An agent's write counts only for the participant and attempt that it names, and its calls renew the lease."""

from collections.abc import Callable
from typing import Any

import pytest

from greenroom.domain.errors import InvalidTransition, Superseded
from greenroom.service import messages, participants, sweeper, tasks
from greenroom.store.transaction import Transaction
from greenroom.wire import requests
from tests.service.in_process_service import InProcessService

Write = Callable[[InProcessService, str, str, int], Any]

WRITES: dict[str, Write] = {
    "start": lambda service, task, connection, attempt: service.start(task, connection, attempt),
    "quarantine": lambda service, task, connection, attempt: service.decline(task, connection, attempt),
    "complete": lambda service, task, connection, attempt: service.complete(task, connection, attempt),
    "hand off": lambda service, task, connection, attempt: service.handoff(task, connection, attempt, "reviewer"),
}


@pytest.fixture
def service() -> InProcessService:
    new_service = InProcessService()
    new_service.create_room()
    new_service.join("builder", "A")
    return new_service


def open_task(service: InProcessService) -> str:
    task = service.send_message().task
    assert task is not None
    return task.id


@pytest.mark.parametrize("write_name", WRITES)
def test_unclaimed_task_rejects_writes(service: InProcessService, write_name: str) -> None:
    task = open_task(service)

    with pytest.raises(InvalidTransition) as refused:
        WRITES[write_name](service, task, "A", 1)

    assert ("pending", "complete" if write_name == "hand off" else write_name) == (
        refused.value.current,
        refused.value.attempted,
    )
    assert "pending" == service.show_task(task).status


@pytest.mark.parametrize("write_name", WRITES)
@pytest.mark.parametrize(("connection", "attempt"), [("A", 2), ("B", 1), ("B", 2)])
def test_other_attempts_write_nothing(
    service: InProcessService, write_name: str, connection: str, attempt: int
) -> None:
    task = open_task(service)
    service.claim("builder", "A")
    before, events = service.show_task(task), service.event_types()

    with pytest.raises(Superseded):
        WRITES[write_name](service, task, connection, attempt)

    assert (before, events) == (service.show_task(task), service.event_types())


def test_repeated_handoff_and_different_results(service: InProcessService) -> None:
    task = open_task(service)
    service.claim("builder", "A")
    first = service.handoff(task, "A", 1, "reviewer", "look at it")

    assert first == service.handoff(task, "A", 1, "reviewer", "look at it")
    assert "look at it" == service.handoff(task, "A", 1, "reviewer", "look twice").result
    with pytest.raises(Superseded):
        service.complete(task, "A", 1, "it is done")

    kept = [(each.to, each.text) for each in service.show_task(task).late_results]
    assert [("reviewer", "look twice"), ("user", "it is done")] == kept
    assert 1 == service.event_types().count("task.completed")


def test_message_requires_current_attempt(service: InProcessService) -> None:
    def send_message(attempt: int) -> None:
        body = requests.SendMessage(sender="builder", text="half way", connection_id="A", attempt=attempt)
        service.run_mutation(lambda tx: messages.send(service.context, tx, service.principal, "r", body))

    task = open_task(service)
    service.claim("builder", "A")
    send_message(1)
    with pytest.raises(Superseded):
        send_message(2)

    service.complete(task, "A", 1)
    with pytest.raises(Superseded):
        send_message(1)


def test_call_in_sweep_batch_renews_lease(service: InProcessService) -> None:
    """Both are in one commit: after an `ok` the lease that the call renewed must not expire."""
    task = open_task(service)

    def join(tx: Transaction) -> None:
        participants.join(service.context, tx, service.principal, "r", "builder", requests.Join(connection_id="A"))

    def claim(tx: Transaction) -> None:
        tasks.claim(
            service.context,
            tx,
            service.principal,
            "r",
            requests.ClaimBody(role="builder", connection_id="A", detached=True),
        )

    def start(tx: Transaction) -> None:
        tasks.start(service.context, tx, service.principal, task, requests.AttemptRef(connection_id="A", attempt=1))

    key = next(iter(service.context.leases.participants))
    for call in (join, claim, start):
        service.clock.advance(service.context.leases.participants[key].length_s + 0.1)

        def call_and_expire(tx: Transaction, call: Callable[[Transaction], None] = call) -> None:
            call(tx)
            sweeper.expire_participant_lease(service.context, tx, key)

        service.run_mutation(call_and_expire)

        assert ["A"] == [each.connection_id for each in service.show_room().participants], call.__name__
        assert "ok" == service.beat("builder", "A").status
