"""Connections break at any moment: incomplete requests have no effect, and complete ones are done once."""

from __future__ import annotations

import random
import time
from contextlib import closing

import pytest

from tests.acceptance.crash.audit import Auditor
from tests.acceptance.crash.beating import Beater
from tests.acceptance.crash.crowd import ROOM, WATCHER, Crowd
from tests.acceptance.crash.hooligans import hooligans
from tests.acceptance.crash.line import Line
from tests.acceptance.crash.yard import POSTGRESQL, SQLITE
from tests.acceptance.house import House

pytestmark = pytest.mark.process


def prove_nothing_is_half_done(house: House, cuts: int, seed: int) -> None:
    """Reset the connections of the load so many times, while other clients disconnect by themselves."""
    rng, proxy = random.Random(seed), house.proxy()
    crowd = Crowd(lambda: Line(proxy.url, house.token), seed)
    crowd.clients += hooligans(lambda: Line(house.url, house.token), crowd.ledger, rng)
    auditor = Auditor(house.api, ROOM, crowd.ledger)
    with Beater(Line(house.url, house.token), ROOM, WATCHER) as beater:
        crowd.start()
        try:
            for _ in range(cuts):
                crowd.goes_on(20)
                time.sleep(rng.uniform(0, 0.2))
                proxy.cut()
                time.sleep(rng.uniform(0, 0.1))
                proxy.mend()
            crowd.goes_on(50)
        finally:
            crowd.stop()
    with closing(Line(house.url, house.token)) as line:
        auditor.repeat_all(line)
    auditor.audit()
    print(f"{cuts} cuts (seed {seed}): {crowd.ledger.figures()}; slowest beat {beater.slowest_s:.2f} s")
    assert {"ok"} == set(beater.statuses)
    assert [] == [asked for asked in crowd.ledger.asked if asked.refused], (
        "no request is refused because of other clients"
    )
    assert house.server is not None
    assert "error" not in house.server.err, "a client's disconnect is not logged as an error"
    assert [1] == sorted({event["data"]["attempt"] for event in auditor.of_type("task.claimed")})


@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)
def test_a_burst_over_lines_that_break(yard: House) -> None:
    prove_nothing_is_half_done(yard, 10, seed=7)


@pytest.mark.prove
@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)
def test_two_hundred_cuts(yard: House) -> None:
    prove_nothing_is_half_done(yard, 200, seed=77)
