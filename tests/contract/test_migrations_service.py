"""After an upgrade the service continues where the first version stopped: with its room, its agents and its tasks."""

from collections.abc import Callable, Iterator

import pytest

from greenroom.domain.limits import Limits
from greenroom.domain.principal import OPERATOR_PRINCIPAL
from greenroom.store.store import Store
from greenroom.testing import MovedClock, SeededEntropy
from tests.contract.migration_databases import MigrationDatabase
from tests.service.in_process_service import InProcessService

ROOM, TILL, OVEN = "shop", "till", "oven"


class UpgradedServer(InProcessService):
    """The in-process service on an existing store."""

    def __init__(self, store: Store, clock: MovedClock) -> None:
        self.clock, self.store, self.limits = clock, store, Limits()
        self.entropy = SeededEntropy(11)
        self.principal = OPERATOR_PRINCIPAL
        self.restart_server()


@pytest.fixture
def server(create_database: Callable[[str], MigrationDatabase]) -> Iterator[UpgradedServer]:
    database, clock = create_database("old"), MovedClock()
    database.create_first_version()
    store = database.open(clock)
    yield UpgradedServer(store, clock)
    store.close()


def test_pending_task_is_claimed_and_completed(server: UpgradedServer) -> None:
    pending = [task for task in server.show_room(ROOM).tasks if task.status == "pending"]
    assert [task.text for task in pending] == ["left pending", "wait 0", "wait 1"]

    server.join(TILL, "c3", ROOM)
    claimed = server.claim(TILL, "c3", ROOM)

    assert claimed is not None
    assert (claimed.id, claimed.attempt) == (pending[0].id, pending[0].attempt + 1)
    server.start(claimed.id, "c3", claimed.attempt)
    assert server.complete(claimed.id, "c3", claimed.attempt).status == "completed"


def test_held_task_is_completed(server: UpgradedServer) -> None:
    [held] = [task for task in server.show_room(ROOM).tasks if task.status == "in_progress"]

    assert server.beat(OVEN, "c2", ROOM).status == "ok"
    assert server.complete(held.id, "c2", held.attempt, "out of the oven").result == "out of the oven"


def test_repeated_handoff_gets_first_answer(server: UpgradedServer) -> None:
    done = next(event.data["task"] for event in server.events() if event.type == "task.completed")
    before = server.show_task(done)
    [completed_event] = [
        event for event in server.events() if event.type == "task.completed" and event.data["task"] == done
    ]

    assert before.accepted_attempt == before.attempt == completed_event.data["attempt"]
    assert server.handoff(done, "c1", before.attempt, OVEN, "bake it") == before


def test_numbering_continues(server: UpgradedServer) -> None:
    numbers = [(event.pos, event.seq) for event in server.events()]
    sent = server.send_message("one more", None, ROOM)

    assert [task.text for task in server.show_room(ROOM).tasks][-1] == "one more"
    assert sent.task is not None
    poses = [event.pos for event in server.events()]
    assert poses == list(range(1, len(poses) + 1))
    assert len(poses) > len(numbers)
