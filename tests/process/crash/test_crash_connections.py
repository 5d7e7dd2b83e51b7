"""Connections break at any moment: incomplete requests have no effect, and complete ones are done once."""

from __future__ import annotations

import random
import time
from contextlib import closing

import pytest

from tests.process.crash.api_connection import ApiConnection
from tests.process.crash.audit import Auditor
from tests.process.crash.disruptive_clients import disruptive_clients
from tests.process.crash.heartbeat_client import HeartbeatClient
from tests.process.crash.load_generator import HEARTBEAT_ROLE, ROOM, LoadGenerator
from tests.process.crash.load_room import POSTGRESQL, SQLITE
from tests.process.installation import Installation

pytestmark = pytest.mark.process


def check_no_partial_effects(installation: Installation, cuts: int, seed: int) -> None:
    """Reset the connections of the load so many times, while other clients disconnect by themselves."""
    rng, proxy = random.Random(seed), installation.proxy()
    load = LoadGenerator(lambda: ApiConnection(proxy.url, installation.token), seed)
    load.clients += disruptive_clients(
        lambda: ApiConnection(installation.url, installation.token), load.request_log, rng
    )
    auditor = Auditor(installation.api, ROOM, load.request_log)
    with HeartbeatClient(ApiConnection(installation.url, installation.token), ROOM, HEARTBEAT_ROLE) as heartbeat_client:
        load.start()
        try:
            for _ in range(cuts):
                load.wait_for_answers(20)
                time.sleep(rng.uniform(0, 0.2))
                proxy.cut()
                time.sleep(rng.uniform(0, 0.1))
                proxy.restore()
            load.wait_for_answers(50)
        finally:
            load.stop()
    with closing(ApiConnection(installation.url, installation.token)) as connection:
        auditor.repeat_all(connection)
    auditor.audit()
    print(f"{cuts} cuts (seed {seed}): {load.request_log.summary()}; slowest beat {heartbeat_client.slowest_s:.2f} s")
    assert {"ok"} == set(heartbeat_client.statuses)
    assert [] == [request for request in load.request_log.requests if request.refused], (
        "no request is refused because of other clients"
    )
    assert installation.server is not None
    assert "error" not in installation.server.err, "a client's disconnect is not logged as an error"
    assert [1] == sorted({event["data"]["attempt"] for event in auditor.events_of("task.claimed")})


@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)
def test_reset_connections_have_no_partial_effects(installation: Installation) -> None:
    check_no_partial_effects(installation, 10, seed=7)


@pytest.mark.prove
@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)
def test_connections_reset_two_hundred_times(installation: Installation) -> None:
    check_no_partial_effects(installation, 200, seed=77)
