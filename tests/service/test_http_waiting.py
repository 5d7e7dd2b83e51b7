"""Long polls: woken by what they wait for; ended by a lost lease, a client that disconnects, or a server that stops."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from greenroom.clock import MovedClock
from greenroom.domain.reliability import Reliability
from greenroom.server.delivery import Delivery
from greenroom.store.store import Store
from tests.service.desk import Desk, Exchange
from tests.waiting import PATIENCE_S

CLAIM = "/api/v1/rooms/r/tasks/claim"
WISHES = "/api/v1/machines/m1/wishes"
WAIT_S = 2 * PATIENCE_S
"""Longer than the test waits, so a long poll that only times out fails the test."""
STANDING = {"role": "builder", "connection_id": "A", "wait_s": WAIT_S}
MESSAGE = {"sender": "user", "text": "do it"}


@pytest.fixture
def desk() -> Iterator[Desk]:
    limits = Reliability(
        claim_wait_max_s=WAIT_S,
        wishes_wait_max_s=WAIT_S,
        heartbeat_interval_s=2 * WAIT_S,
        heartbeat_ttl_s=6 * WAIT_S,
        work_lease_s=6 * WAIT_S,
    )
    with Desk(limits) as made:
        made.room()
        made.join()
        yield made


async def pause() -> None:
    """Let the other tasks of the event loop run for a moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def standing(desk: Desk, count: int = 1) -> None:
    """Wait until the server counts `count` long polls."""
    async with asyncio.timeout(PATIENCE_S):
        while desk.doors.tally.waits < count:
            await pause()


async def claiming(desk: Desk, **more: Any) -> Exchange:
    """Start a claim, and wait until it is a long poll."""
    exchange = desk.send("POST", CLAIM, {**STANDING, **more})
    await standing(desk, desk.doors.tally.waits + 1)
    return exchange


def test_a_message_ends_the_wait(desk: Desk) -> None:
    async def story() -> None:
        claim = await claiming(desk)
        said = await desk.send("POST", "/api/v1/rooms/r/messages", MESSAGE).answer()

        answer = await claim.answer()

        assert (200, said.json["task"]["id"]) == (answer.status, answer.json["id"])
        assert answer.json["token"]

    desk.run(story())
    assert 0 == desk.doors.tally.waits


def test_nothing_in_time_is_204() -> None:
    with Desk() as desk:
        desk.room()
        desk.join()

        answer = desk.claim(wait_s=WAIT_S)

        assert (204, b"") == (answer.status, answer.body)


def test_whoever_takes_over_ends_the_wait(desk: Desk) -> None:
    async def story() -> None:
        claim = await claiming(desk)
        await desk.send("POST", "/api/v1/rooms/r/participants/builder/join", {"connection_id": "B"}).answer()

        answer = await claim.answer()

        assert (409, "superseded") == (answer.status, answer.json["code"])

    desk.run(story())


def test_cleanup_ends_the_wait(desk: Desk) -> None:
    async def story() -> None:
        claim = await claiming(desk)
        for _ in range(int(desk.limits.heartbeat_ttl_s) + 2):
            desk.clock.move(1)
            await desk.tick()

        answer = await claim.answer()

        assert (409, "rejoin_required") == (answer.status, answer.json["code"])

    desk.run(story())


def test_the_servers_end_ends_the_wait(desk: Desk) -> None:
    async def story() -> None:
        claim = await claiming(desk)
        desk.doors.closing.set()

        assert 204 == (await claim.answer()).status

    desk.run(story())


def test_who_has_left_is_given_nothing(desk: Desk) -> None:
    async def story() -> None:
        claim = await claiming(desk)
        claim.leave()
        await claim.answer()
        await desk.send("POST", "/api/v1/rooms/r/messages", MESSAGE).answer()

    desk.run(story())
    [task] = desk.look()["tasks"]
    assert ("pending", 0) == (task["status"], task["attempt"])


def test_one_of_many_gets_it(desk: Desk) -> None:
    desk.join("reviewer", "R")

    async def story() -> None:
        claims = [await claiming(desk), await claiming(desk, role="reviewer", connection_id="R")]
        await desk.send("POST", "/api/v1/rooms/r/messages", MESSAGE).answer()

        assert 200 == (await claims[0].answer()).status
        assert not claims[1].is_done()
        desk.doors.closing.set()
        assert 204 == (await claims[1].answer()).status

    desk.run(story())


def test_a_wish_ends_the_wait_for_wishes(desk: Desk) -> None:
    desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": ["shell"]})
    known = desk.get(WISHES).json["version"]

    async def story() -> None:
        wait = desk.send("GET", f"{WISHES}?after={known}&wait_s={WAIT_S}")
        await standing(desk)
        wish = {"kind": "remote", "machine": "m1", "harness": "shell"}
        await desk.send("PUT", "/api/v1/rooms/r/roles/reviewer/agent", wish).answer()

        wishes = (await wait.answer()).json

        assert known < wishes["version"]
        assert ["reviewer"] == [wish["role"] for wish in wishes["wishes"]]

    desk.run(story())


def test_wishes_that_are_not_known_are_told_at_once(desk: Desk) -> None:
    desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
    known = desk.get(WISHES).json["version"]

    assert 200 == desk.get(f"{WISHES}?wait_s={WAIT_S}").status
    assert 200 == desk.get(f"{WISHES}?after={known + 7}&wait_s={WAIT_S}").status


class Halted:
    """Keeps the writer of a store busy, so that further writes wait in its queue."""

    def __init__(self, store: Store) -> None:
        self._held = threading.Event()
        self._store = store

    def __enter__(self) -> None:
        self._store.write(lambda transaction: self._held.wait(PATIENCE_S))

    def __exit__(self, *_: object) -> None:
        self._held.set()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CLAIM, {"role": "builder", "connection_id": "A"}),
        ("/api/v1/rooms/r/participants/builder/join", {"connection_id": "B"}),
    ],
)
def test_who_left_before_its_turn_changes_nothing(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    clock, delivery = MovedClock(), Delivery()
    store = Store.open(tmp_path, clock, deliver=delivery.deliver)
    with Desk(store=store, clock=clock) as desk:
        desk.room()
        desk.join()
        desk.say()
        desk.run(asked_in_vain(desk, delivery, path, body))
        room = desk.look()
        assert ["pending"] == [task["status"] for task in room["tasks"]]
        assert ["A"] == [participant["connection_id"] for participant in room["participants"]]


def test_the_late_beat_of_a_daemon_that_is_dead_is_no_clone(tmp_path: Path) -> None:
    clock, delivery = MovedClock(), Delivery()
    store = Store.open(tmp_path, clock, deliver=delivery.deliver)
    with Desk(store=store, clock=clock) as desk:
        desk.put("/api/v1/machines/m1", {"name": "m1", "harnesses": []})
        for incarnation in ("i1", "i2"):
            desk.post("/api/v1/machines/m1/heartbeat", {"incarnation": incarnation})
        desk.run(asked_in_vain(desk, delivery, "/api/v1/machines/m1/heartbeat", {"incarnation": "i1"}))
        assert [] == desk.get("/api/v1/attention").json


async def asked_in_vain(desk: Desk, delivery: Delivery, path: str, body: dict[str, Any]) -> None:
    """Send a request whose client disconnects before the writer comes to it."""
    with delivery.on(asyncio.get_running_loop()):
        with Halted(desk.store):
            request = desk.send("POST", path, body)
            async with asyncio.timeout(PATIENCE_S):
                while not desk.store.writer.queued:
                    await pause()
            request.leave()
            await pause()
        await request.answer()


def test_the_end_of_a_wait_is_no_sign_of_life(desk: Desk) -> None:
    async def story() -> None:
        claim = desk.send("POST", CLAIM, {**STANDING, "wait_s": 3.0})
        await standing(desk)
        (seat,) = desk.world.leases.seats.values()
        deadline = seat.deadline
        desk.clock.move(1.0)

        answer = await claim.answer()

        assert 204 == answer.status
        assert [deadline] == [each.deadline for each in desk.world.leases.seats.values()]

    desk.run(story())
