"""A token that loses its rights while a call is open: a stream ends, and a claim is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from greenroom.domain.reliability import Reliability
from tests.service.desk import Desk, Exchange
from tests.waiting import PATIENCE_S

STREAM = {"accept": "text/event-stream"}
MESSAGE = {"sender": "user", "text": "a secret"}

WAIT_S = 2 * PATIENCE_S
WAITS_LONG = Reliability(
    stream_comment_s=0.05,
    claim_wait_max_s=WAIT_S,
    heartbeat_interval_s=2 * WAIT_S,
    heartbeat_ttl_s=6 * WAIT_S,
    work_lease_s=6 * WAIT_S,
)

Call = tuple[str, str, Any]


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk(WAITS_LONG) as made:
        made.room()
        made.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
        wished = {"kind": "remote", "machine": "m1", "harness": "shell"}
        assert 200 == made.put("/api/v1/rooms/r/roles/reviewer/agent", wished).status
        yield made


async def read_to_the_end(stream: Exchange) -> list[str]:
    types = []
    while frame := await stream.frame():
        types.append(frame["event"])
    return types


def last_words(desk: Desk, token: str, ends: list[Call]) -> list[str]:
    """The types of the events that the room's stream still sends while the calls `ends` are made, until it ends."""

    async def story() -> list[str]:
        stream = desk.send("GET", "/api/v1/rooms/r/events", headers=STREAM, token=token)
        assert "room.created" == (await stream.frame())["event"]
        for method, where, body in ends:
            assert (await desk.send(method, where, body).answer()).status < 300
        return await read_to_the_end(stream)

    return desk.run(story())


def test_the_stream_of_an_attempt_ends_with_it(desk: Desk) -> None:
    desk.join()
    desk.say()
    task = desk.claim().json
    cancelled: Call = ("POST", f"/api/v1/tasks/{task['id']}/cancel", {})
    told = last_words(desk, task["token"], [cancelled, ("POST", "/api/v1/rooms/r/messages", MESSAGE)])
    assert "task.claimed" in told
    assert "task.closed" not in told
    assert "message.sent" not in told[told.index("task.claimed") :]


def test_the_stream_of_a_machine_ends_when_nothing_in_the_room_is_its_own(desk: Desk) -> None:
    elsewhere: Call = ("PUT", "/api/v1/rooms/r/roles/reviewer/agent", {"kind": "custom"})
    told = last_words(
        desk,
        desk.world.keys.machine_token("m1"),
        [elsewhere, ("POST", "/api/v1/rooms/r/messages", MESSAGE)],
    )
    assert "message.sent" not in told


@pytest.mark.parametrize("whose", ["operator", "agent"])
def test_the_stream_of_a_deleted_room_ends_and_goes_on_under_another_name(desk: Desk, whose: str) -> None:
    """An operator's stream still has the room's last events."""
    desk.join()
    keys = desk.world.keys
    token = keys.operator_token() if whose == "operator" else keys.agent_token(desk.look()["id"], "builder")
    ends: list[Call] = [
        ("PATCH", "/api/v1/rooms/r", {"name": "s"}),
        ("POST", "/api/v1/rooms", {"name": "r", "roles": ["builder"]}),
        ("POST", "/api/v1/rooms/s/close", {}),
        ("DELETE", "/api/v1/rooms/s", None),
    ]

    told = last_words(desk, token, ends)

    assert "room.changed" in told
    assert whose == "agent" or told[-2:] == ["room.closed", "participant.left"]


def test_a_claim_that_stands_is_refused_once_its_role_is_another_machine_s(desk: Desk) -> None:
    token = desk.world.keys.machine_token("m1")
    beat = {"incarnation": "i1", "agents": []}
    assert 200 == desk.post("/api/v1/machines/m1/heartbeat", beat, token=token).status
    joined = desk.post("/api/v1/rooms/r/participants/reviewer/join", {"connection_id": "A"}, token=token)
    assert 200 == joined.status

    async def story() -> int:
        body = {"role": "reviewer", "connection_id": "A", "wait_s": WAIT_S}
        standing = desk.send("POST", "/api/v1/rooms/r/tasks/claim", body, token=token)
        wish = desk.send("PUT", "/api/v1/rooms/r/roles/reviewer/agent", {"kind": "custom"})
        assert 200 == (await wish.answer()).status
        return (await standing.answer()).status

    assert 403 == desk.run(story())
