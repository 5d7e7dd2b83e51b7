"""PostgreSQL is killed under load, ends the writer's session, or serves a second server: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.crash.audit import Auditor
from tests.acceptance.crash.beating import Beater
from tests.acceptance.crash.crowd import ROLES, ROOM, WATCHER, Crowd
from tests.acceptance.crash.line import Line
from tests.acceptance.crash.yard import POSTGRESQL, UNHURRIED
from tests.acceptance.house import House, listening
from tests.acceptance.processes import Started
from tests.postgres import Server, place_of
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.process, pytest.mark.parametrize("database", [POSTGRESQL], indirect=True)]

LEASE_S = 20.0
ALREADY_RUNNING = 78
WRITERS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'greenroom server%'"


def kill_postmaster(server: Server) -> None:
    """Kill PostgreSQL's first process; the others notice and exit."""
    os.kill(int((server.folder / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def start_again(server: Server) -> None:
    """Start PostgreSQL as soon as the last old process has released its shared memory."""

    def start() -> bool:
        try:
            server.start()
        except subprocess.CalledProcessError as error:
            raise OSError(str(error)) from error
        return True

    wait_until(start, "PostgreSQL runs again")


def terminate(server: Server, database: str, which: str = WRITERS) -> None:
    """Have PostgreSQL terminate the server's sessions, and wait until they have ended."""
    name = database.partition("?")[0].rpartition("/")[2]
    server.admin(f"SELECT pg_terminate_backend(pid, {int(1000 * PATIENCE_S)}) {which}", database=name)


class Trial:
    """Load on a server, a client that sends heartbeats, and the checks of the outcome."""

    def __init__(self, house: House, seed: int, workers: Sequence[str] = ROLES) -> None:
        self.house, self.rng = house, random.Random(seed)
        self.crowd = Crowd(lambda: Line(house.url, house.token), seed, workers=workers)
        self.auditor = Auditor(house.api, ROOM, self.crowd.ledger)
        self.slowest_return_s = 0.0

    def run(self, disturb: Callable[[], None], times: int) -> None:
        """Disturb the load so many times, then compare the state with every answer."""
        ledger = self.crowd.ledger
        with Beater(Line(self.house.url, self.house.token), ROOM, WATCHER) as beater:
            self.crowd.start()
            try:
                for _ in range(times):
                    self.crowd.goes_on(20)
                    time.sleep(self.rng.uniform(0, 0.3))
                    disturb()
                    began_at = time.monotonic()
                    self.crowd.goes_on(1)
                    self.slowest_return_s = max(self.slowest_return_s, time.monotonic() - began_at)
                    self.auditor.look()
                self.crowd.goes_on(50)
            finally:
                self.crowd.stop()
        with closing(Line(self.house.url, self.house.token)) as line:
            self.auditor.repeat_all(line)
        self.auditor.audit()
        print(
            f"{times} times: {ledger.figures()}; back after at most {self.slowest_return_s:.2f} s; slowest of"
            f" {len(beater.statuses)} beats {beater.slowest_s:.2f} s"
        )
        assert {"ok"} == set(beater.statuses)
        assert 1 == len(self.auditor.of_type("server.started")), "the server was never restarted"
        assert [] == self.auditor.of_type("participant.expired")
        assert {1} >= {event["data"]["attempt"] for event in self.auditor.of_type("task.claimed")}

    def is_refused(self, more: int) -> None:
        wanted = self.crowd.ledger.refusals + more
        wait_until(lambda: self.crowd.ledger.refusals >= wanted, "writes are refused")

    def said(self, words: str) -> int:
        """How many lines of the server's log contain these words."""
        assert self.house.server is not None
        return sum(words in line for line in self.house.server.err.splitlines())


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Server]:
    """A PostgreSQL that no other test uses."""
    server = Server(place_of(tmp_path))
    yield server
    server.stop()


class Mortal:
    """Tests with a PostgreSQL that may be killed."""

    @pytest.fixture
    def database(self, mortal: Server) -> Iterator[str]:
        with mortal.database() as url:
            yield url

    def disturb(self, trial: Trial, server: Server, away_s: float) -> None:
        """Stop PostgreSQL in a random way, assert that requests are refused as unavailable, and start it again."""
        ways = (lambda: kill_postmaster(server), lambda: server.stop("immediate"), lambda: server.stop("fast"))
        trial.rng.choice(ways)()
        trial.is_refused(more=10)
        for method, path in (("POST", "rooms"), ("GET", "rooms"), ("GET", f"rooms/{ROOM}")):
            body = {"name": "nowhere", "roles": ["builder"]} if method == "POST" else None
            answer = trial.house.api.call(method, path, body)
            assert (503, "store_unavailable") == (answer.status, answer.body["code"]), (path, answer)
            assert answer.body["guidance"]
        time.sleep(away_s)
        start_again(server)


class TestItDies(Mortal):
    def test_and_comes_back(self, yard: House, mortal: Server) -> None:
        self.die(Trial(yard, seed=8), mortal, away_s_max=0.5, times=2)

    @pytest.mark.prove
    def test_again_and_again(self, yard: House, mortal: Server) -> None:
        self.die(Trial(yard, seed=88), mortal, away_s_max=2.0, times=50)

    def die(self, trial: Trial, server: Server, away_s_max: float, times: int) -> None:
        trial.run(lambda: self.disturb(trial, server, trial.rng.uniform(0, away_s_max)), times)
        counts = [trial.said("unavailable: database"), trial.said("available again: database")]
        assert [times, times] == counts, "each outage and each recovery is logged once"


@pytest.mark.prove
class TestItIsAwayForLongerThanALease(Mortal):
    @pytest.fixture
    def durations(self) -> Mapping[str, str]:
        return UNHURRIED | {"GREENROOM_HEARTBEAT_INTERVAL_S": "5", "GREENROOM_HEARTBEAT_TTL_S": f"{LEASE_S}"}

    def test_and_comes_back(self, yard: House, mortal: Server) -> None:
        """Only with the client that sends heartbeats: the agents of the load send none."""
        trial = Trial(yard, seed=89, workers=())
        trial.run(lambda: self.disturb(trial, mortal, 1.5 * LEASE_S), times=2)


@pytest.mark.parametrize("times", [8, pytest.param(200, marks=pytest.mark.prove)])
def test_our_session_is_ended_in_mid_burst(yard: House, postgres: Server, database: str, times: int) -> None:
    trial = Trial(yard, seed=9)
    trial.run(lambda: terminate(postgres, database), times)
    assert trial.said("batch not committed") <= times, "a terminated session fails at most one batch"
    assert trial.crowd.ledger.refusals <= times * len(trial.crowd.clients)


def second_server(house: House, url: str) -> Started:
    """Another server on the same database, with a data directory of its own."""
    other = ("--listen", "127.0.0.1:0", "--data-dir", str(house.root / "other"))
    return house.start("server", *other, "--database", url)


def test_a_second_server_is_not_let_in(yard: House, database: str) -> None:
    trial = Trial(yard, seed=10)

    def try_a_second_one() -> None:
        second = second_server(yard, database)
        assert ALREADY_RUNNING == second.wait()
        assert "Another server uses" in second.err

    def try_while_the_first_stands_still() -> None:
        assert yard.server is not None
        yard.server.send(signal.SIGSTOP)
        try_a_second_one()
        yard.server.send(signal.SIGCONT)

    turns = iter((try_a_second_one, try_while_the_first_stands_still))
    trial.run(lambda: next(turns)(), times=2)


def test_a_server_that_stood_still_too_long_writes_no_more(yard: House, postgres: Server, database: str) -> None:
    """Its session is terminated while it is suspended, and a second server starts; the first must not serve what it was
    sent meanwhile.
    """
    first = yard.server
    assert first is not None
    before = Line(yard.url, yard.token)
    assert 201 == before.ask("POST", f"rooms/{ROOM}/messages", {"sender": "user", "text": "of the first"}).status
    first.send(signal.SIGSTOP)
    terminate(postgres, database)
    second = second_server(yard, database)
    url = wait_until(lambda: listening(second), "the second server listens").removeprefix("listening on ")
    with closing(Line(url, yard.token)) as line:
        body = {"sender": "user", "text": "of the second"}
        assert 201 == line.ask("POST", f"rooms/{ROOM}/messages", body).status
        before.hang_up(f"rooms/{ROOM}/messages", {"sender": "user", "text": "asked of the stopped one"}, after_s=0.1)
        first.send(signal.SIGCONT)
        assert 0 != first.wait()
        said = line.ask("GET", f"rooms/{ROOM}/messages").body
        events = line.ask("GET", "events?limit=1000").body
    before.close()
    assert ["of the first", "of the second"] == [message["text"] for message in said]
    assert [event["pos"] for event in events] == sorted({event["pos"] for event in events})
