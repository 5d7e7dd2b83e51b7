"""Long polls: woken by what they wait for; ended by a lost lease, a client that disconnects, or a server that stops."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from greenroom.domain.limits import Limits
from greenroom.server.wakeups import ResultDelivery
from greenroom.store.store import Store
from greenroom.testing import MovedClock
from tests.service.in_process_server import AsgiExchange, InProcessServer
from tests.waiting import PATIENCE_S

CLAIM = "/api/v1/rooms/r/tasks/claim"
ASSIGNMENTS = "/api/v1/machines/m1/assignments"
WAIT_S = 2 * PATIENCE_S
"""Longer than the test waits, so a long poll that only times out fails the test."""
LONG_CLAIM = {"role": "builder", "connection_id": "A", "wait_s": WAIT_S}
MESSAGE = {"sender": "user", "text": "do it"}


@pytest.fixture
def server() -> Iterator[InProcessServer]:
    limits = Limits(
        claim_wait_max_s=WAIT_S,
        assignments_wait_max_s=WAIT_S,
        heartbeat_interval_s=2 * WAIT_S,
        heartbeat_ttl_s=6 * WAIT_S,
        work_lease_s=6 * WAIT_S,
    )
    with InProcessServer(limits) as new_server:
        new_server.create_room()
        new_server.join()
        yield new_server


async def pause() -> None:
    """Let the other tasks of the event loop run for a moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def wait_for_long_polls(server: InProcessServer, count: int = 1) -> None:
    """Wait until the server counts `count` long polls."""
    async with asyncio.timeout(PATIENCE_S):
        while server.context.counters.long_polls < count:
            await pause()


async def open_claim(server: InProcessServer, **more: Any) -> AsgiExchange:
    """Start a claim, and wait until it is a long poll."""
    exchange = server.send("POST", CLAIM, {**LONG_CLAIM, **more})
    await wait_for_long_polls(server, server.context.counters.long_polls + 1)
    return exchange


def test_message_answers_claim(server: InProcessServer) -> None:
    async def scenario() -> None:
        claim = await open_claim(server)
        message = await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()

        answer = await claim.response()

        assert (200, message.json["task"]["id"]) == (answer.status, answer.json["id"])
        assert answer.json["token"]

    server.run(scenario())
    assert 0 == server.context.counters.long_polls


def test_claim_timeout_is_204() -> None:
    with InProcessServer() as server:
        server.create_room()
        server.join()

        answer = server.claim(wait_s=WAIT_S)

        assert (204, b"") == (answer.status, answer.body)


def test_takeover_ends_claim(server: InProcessServer) -> None:
    async def scenario() -> None:
        claim = await open_claim(server)
        await server.send("POST", "/api/v1/rooms/r/participants/builder/join", {"connection_id": "B"}).response()

        answer = await claim.response()

        assert (409, "superseded") == (answer.status, answer.json["code"])

    server.run(scenario())


def test_expired_lease_ends_claim(server: InProcessServer) -> None:
    async def scenario() -> None:
        claim = await open_claim(server)
        for _ in range(int(server.limits.heartbeat_ttl_s) + 2):
            server.clock.advance(1)
            await server.tick_loops()

        answer = await claim.response()

        assert (409, "rejoin_required") == (answer.status, answer.json["code"])

    server.run(scenario())


def test_server_stop_ends_claim(server: InProcessServer) -> None:
    async def scenario() -> None:
        claim = await open_claim(server)
        server.context.closing.set()

        assert 204 == (await claim.response()).status

    server.run(scenario())


def test_disconnected_client_gets_no_task(server: InProcessServer) -> None:
    async def scenario() -> None:
        claim = await open_claim(server)
        claim.disconnect()
        await claim.response()
        await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()

    server.run(scenario())
    [task] = server.show_room()["tasks"]
    assert ("pending", 0) == (task["status"], task["attempt"])


def test_message_answers_only_target_role(server: InProcessServer) -> None:
    server.join("reviewer", "R")

    async def scenario() -> None:
        claims = [await open_claim(server), await open_claim(server, role="reviewer", connection_id="R")]
        await server.send("POST", "/api/v1/rooms/r/messages", MESSAGE).response()

        assert 200 == (await claims[0].response()).status
        assert not claims[1].is_done()
        server.context.closing.set()
        assert 204 == (await claims[1].response()).status

    server.run(scenario())


def test_agent_spec_ends_assignments_wait(server: InProcessServer) -> None:
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
    known = server.get(ASSIGNMENTS).json["version"]

    async def scenario() -> None:
        wait = server.send("GET", f"{ASSIGNMENTS}?after={known}&wait_s={WAIT_S}")
        await wait_for_long_polls(server)
        agent_spec = {"kind": "remote", "machine": "m1", "harness": "shell"}
        await server.send("PUT", "/api/v1/rooms/r/roles/reviewer/agent", agent_spec).response()

        assignments = (await wait.response()).json

        assert known < assignments["version"]
        assert ["reviewer"] == [assignment["role"] for assignment in assignments["assignments"]]

    server.run(scenario())


def test_unknown_assignments_are_returned_at_once(server: InProcessServer) -> None:
    server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    known = server.get(ASSIGNMENTS).json["version"]

    assert 200 == server.get(f"{ASSIGNMENTS}?wait_s={WAIT_S}").status
    assert 200 == server.get(f"{ASSIGNMENTS}?after={known + 7}&wait_s={WAIT_S}").status


class BlockedWriter:
    """Keeps the writer of a store busy, so that further writes wait in its queue."""

    def __init__(self, store: Store) -> None:
        self._released = threading.Event()
        self._store = store

    def __enter__(self) -> None:
        self._store.write(lambda transaction: self._released.wait(PATIENCE_S))

    def __exit__(self, *_: object) -> None:
        self._released.set()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CLAIM, {"role": "builder", "connection_id": "A"}),
        ("/api/v1/rooms/r/participants/builder/join", {"connection_id": "B"}),
    ],
)
def test_disconnect_before_write_changes_nothing(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    clock, delivery = MovedClock(), ResultDelivery()
    store = Store.open(tmp_path, clock, deliver=delivery.deliver)
    with InProcessServer(store=store, clock=clock) as server:
        server.create_room()
        server.join()
        server.send_message()
        server.run(send_and_disconnect(server, delivery, path, body))
        room = server.show_room()
        assert ["pending"] == [task["status"] for task in room["tasks"]]
        assert ["A"] == [participant["connection_id"] for participant in room["participants"]]


def test_disconnected_old_daemon_is_no_clone(tmp_path: Path) -> None:
    clock, delivery = MovedClock(), ResultDelivery()
    store = Store.open(tmp_path, clock, deliver=delivery.deliver)
    with InProcessServer(store=store, clock=clock) as server:
        server.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
        for incarnation in ("i1", "i2"):
            server.post("/api/v1/machines/m1/heartbeat", {"incarnation": incarnation})
        server.run(send_and_disconnect(server, delivery, "/api/v1/machines/m1/heartbeat", {"incarnation": "i1"}))
        assert [] == server.get("/api/v1/alerts").json


async def send_and_disconnect(
    server: InProcessServer, delivery: ResultDelivery, path: str, body: dict[str, Any]
) -> None:
    """Send a request whose client disconnects before the writer comes to it."""
    with delivery.attach(asyncio.get_running_loop()):
        with BlockedWriter(server.store):
            request = server.send("POST", path, body)
            async with asyncio.timeout(PATIENCE_S):
                while not server.store.writer.queued:
                    await pause()
            request.disconnect()
            await pause()
        await request.response()


def test_claim_timeout_renews_no_lease(server: InProcessServer) -> None:
    async def scenario() -> None:
        claim = server.send("POST", CLAIM, {**LONG_CLAIM, "wait_s": 3.0})
        await wait_for_long_polls(server)
        (lease,) = server.service_context.leases.participants.values()
        deadline = lease.deadline
        server.clock.advance(1.0)

        answer = await claim.response()

        assert 204 == answer.status
        assert [deadline] == [each.deadline for each in server.service_context.leases.participants.values()]

    server.run(scenario())
