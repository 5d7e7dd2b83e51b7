"""The server is killed at any moment under load, and every write that it answered is stored."""

from __future__ import annotations

import random
import time
from contextlib import closing

import pytest

from tests.process.crash.api_connection import ApiConnection
from tests.process.crash.audit import Auditor
from tests.process.crash.load_generator import ROOM, LoadGenerator
from tests.process.crash.load_room import POSTGRESQL, SQLITE, check_file
from tests.process.installation import Installation

pytestmark = pytest.mark.process

KILLED_WITHIN_S = 0.4
KILLED_STARTING_SHARE = 0.25
"""The share of kills that hit a server which is just starting."""


def kill_repeatedly(
    installation: Installation, load: LoadGenerator, auditor: Auditor, kills: int, rng: random.Random
) -> int:
    """Kill the server so many times, sometimes before it listens; return how often it came up."""
    start_s, returns = 0.7, 0
    while kills:
        load.wait_for_answers(20)
        time.sleep(rng.uniform(0, KILLED_WITHIN_S))
        assert installation.server is not None
        installation.server.kill()
        kills -= 1
        while kills and rng.random() < KILLED_STARTING_SHARE:
            starting = installation.launch_server()
            time.sleep(rng.uniform(0, start_s))
            starting.kill()
            kills -= 1
        began_at = time.monotonic()
        installation.start_server()
        start_s = time.monotonic() - began_at
        auditor.check_log()
        returns += 1
    return returns


def check_nothing_lost(installation: Installation, kills: int, seed: int) -> None:
    """Generate load, kill the server, and then compare the state with every answer."""
    load = LoadGenerator(lambda: ApiConnection(installation.url, installation.token), seed)
    auditor = Auditor(installation.api, ROOM, load.request_log)
    load.start()
    try:
        returns = kill_repeatedly(installation, load, auditor, kills, random.Random(seed))
        load.wait_for_answers(50)
    finally:
        load.stop()
    with closing(ApiConnection(installation.url, installation.token)) as connection:
        repeated = auditor.repeat_all(connection)
    auditor.audit()
    print(f"{kills} kills (seed {seed}): {load.request_log.summary()}; {repeated} sent again at the end")
    assert returns + 1 <= len(auditor.events_of("server.started")) <= kills + 1
    assert [1] == sorted({event["data"]["attempt"] for event in auditor.events_of("task.claimed")}), (
        "no attempt was taken away"
    )
    for worker in load.workers:
        assert worker.epochs == sorted(set(worker.epochs)), "epochs only rise"


@pytest.mark.parametrize(("database", "kills"), [(SQLITE, 5), (POSTGRESQL, 3)], indirect=["database"])
def test_server_killed_under_load_loses_nothing(installation: Installation, kills: int) -> None:
    check_nothing_lost(installation, kills, seed=1)
    check_file(installation)


@pytest.mark.prove
@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)
def test_server_killed_fifty_times(installation: Installation) -> None:
    check_nothing_lost(installation, 50, seed=11)
    check_file(installation)
