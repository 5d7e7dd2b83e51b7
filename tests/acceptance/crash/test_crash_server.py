"""The server is killed at any moment under load, and every write that it answered is stored."""

from __future__ import annotations

import random
import time
from contextlib import closing

import pytest

from tests.acceptance.crash.audit import Auditor
from tests.acceptance.crash.crowd import ROOM, Crowd
from tests.acceptance.crash.line import Line
from tests.acceptance.crash.yard import POSTGRESQL, SQLITE, check_file
from tests.acceptance.house import House

pytestmark = pytest.mark.process

KILLED_WITHIN_S = 0.4
IN_MID_START = 0.25
"""The share of kills that hit a server which is just starting."""


def kill_again_and_again(house: House, crowd: Crowd, auditor: Auditor, kills: int, rng: random.Random) -> int:
    """Kill the server so many times, sometimes before it listens; return how often it came up."""
    start_s, returns = 0.7, 0
    while kills:
        crowd.goes_on(20)
        time.sleep(rng.uniform(0, KILLED_WITHIN_S))
        assert house.server is not None
        house.server.kill()
        kills -= 1
        while kills and rng.random() < IN_MID_START:
            nascent = house.launch_server()
            time.sleep(rng.uniform(0, start_s))
            nascent.kill()
            kills -= 1
        began_at = time.monotonic()
        house.start_server()
        start_s = time.monotonic() - began_at
        auditor.look()
        returns += 1
    return returns


def prove_nothing_is_lost(house: House, kills: int, seed: int) -> None:
    """Generate load, kill the server, and then compare the state with every answer."""
    crowd = Crowd(lambda: Line(house.url, house.token), seed)
    auditor = Auditor(house.api, ROOM, crowd.ledger)
    crowd.start()
    try:
        returns = kill_again_and_again(house, crowd, auditor, kills, random.Random(seed))
        crowd.goes_on(50)
    finally:
        crowd.stop()
    with closing(Line(house.url, house.token)) as line:
        repeated = auditor.repeat_all(line)
    auditor.audit()
    print(f"{kills} kills (seed {seed}): {crowd.ledger.figures()}; {repeated} sent again at the end")
    assert returns + 1 <= len(auditor.of_type("server.started")) <= kills + 1
    assert [1] == sorted({event["data"]["attempt"] for event in auditor.of_type("task.claimed")}), (
        "no attempt was taken away"
    )
    for worker in crowd.workers:
        assert worker.epochs == sorted(set(worker.epochs)), "epochs only rise"


@pytest.mark.parametrize(("database", "kills"), [(SQLITE, 5), (POSTGRESQL, 3)], indirect=["database"])
def test_a_server_that_is_killed_in_a_burst_keeps_its_word(yard: House, kills: int) -> None:
    prove_nothing_is_lost(yard, kills, seed=1)
    check_file(yard)


@pytest.mark.prove
@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)
def test_fifty_kills(yard: House) -> None:
    prove_nothing_is_lost(yard, 50, seed=11)
    check_file(yard)
