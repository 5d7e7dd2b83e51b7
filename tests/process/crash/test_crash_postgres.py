"""PostgreSQL is killed under load, ends the writer's session, or serves a second server: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, server_folder
from tests.process.crash.api_connection import ApiConnection
from tests.process.crash.audit import Auditor
from tests.process.crash.heartbeat_client import HeartbeatClient
from tests.process.crash.load_generator import HEARTBEAT_ROLE, ROLES, ROOM, LoadGenerator
from tests.process.crash.load_room import PATIENT_DURATIONS, POSTGRESQL
from tests.process.installation import Installation, listening
from tests.process.processes import StartedProcess
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.process, pytest.mark.parametrize("database", [POSTGRESQL], indirect=True)]

LEASE_S = 20.0
ALREADY_RUNNING = 78
SERVER_SESSIONS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'greenroom server%'"
)


def kill_postmaster(server: PostgresServer) -> None:
    """Kill PostgreSQL's first process; the others notice and exit."""
    os.kill(int((server.folder / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def terminate_sessions(server: PostgresServer, database: str, which: str = SERVER_SESSIONS) -> None:
    """Have PostgreSQL terminate the server's sessions, and wait until they have ended."""
    name = database.partition("?")[0].rpartition("/")[2]
    server.run_as_superuser(f"SELECT pg_terminate_backend(pid, {int(1000 * PATIENCE_S)}) {which}", database=name)


class LoadRun:
    """Load on a server, a client that sends heartbeats, and the checks of the outcome."""

    def __init__(self, installation: Installation, seed: int, workers: Sequence[str] = ROLES) -> None:
        self.installation, self.rng = installation, random.Random(seed)
        self.load = LoadGenerator(lambda: ApiConnection(installation.url, installation.token), seed, workers=workers)
        self.auditor = Auditor(installation.api, ROOM, self.load.request_log)
        self.slowest_return_s = 0.0

    def run(self, disturb: Callable[[], None], times: int) -> None:
        """Disturb the load so many times, then compare the state with every answer."""
        request_log = self.load.request_log
        with HeartbeatClient(
            ApiConnection(self.installation.url, self.installation.token), ROOM, HEARTBEAT_ROLE
        ) as heartbeat_client:
            self.load.start()
            try:
                for _ in range(times):
                    self.load.wait_for_answers(20)
                    time.sleep(self.rng.uniform(0, 0.3))
                    disturb()
                    began_at = time.monotonic()
                    self.load.wait_for_answers(1)
                    self.slowest_return_s = max(self.slowest_return_s, time.monotonic() - began_at)
                    self.auditor.check_log()
                self.load.wait_for_answers(50)
            finally:
                self.load.stop()
        with closing(ApiConnection(self.installation.url, self.installation.token)) as connection:
            self.auditor.repeat_all(connection)
        self.auditor.audit()
        print(
            f"{times} times: {request_log.summary()}; back after at most {self.slowest_return_s:.2f} s; slowest of"
            f" {len(heartbeat_client.statuses)} beats {heartbeat_client.slowest_s:.2f} s"
        )
        assert {"ok"} == set(heartbeat_client.statuses)
        assert 1 == len(self.auditor.events_of("server.started")), "the server was never restarted"
        assert [] == self.auditor.events_of("participant.expired")
        assert {1} >= {event["data"]["attempt"] for event in self.auditor.events_of("task.claimed")}

    def wait_for_refusals(self, more: int) -> None:
        wanted = self.load.request_log.refusals + more
        wait_until(lambda: self.load.request_log.refusals >= wanted, "writes are refused")

    def count_log_lines(self, words: str) -> int:
        """How many lines of the server's log contain `words`."""
        assert self.installation.server is not None
        return sum(words in line for line in self.installation.server.err.splitlines())


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that no other test uses."""
    server = PostgresServer(server_folder(tmp_path))
    yield server
    with suppress(subprocess.CalledProcessError):  # A test that failed may have left it killed.
        server.stop()


class OwnPostgres:
    """Tests with a PostgreSQL that may be killed."""

    @pytest.fixture
    def database(self, own_postgres: PostgresServer) -> Iterator[str]:
        with own_postgres.database() as url:
            yield url

    def disturb(self, load_run: LoadRun, server: PostgresServer, away_s: float) -> None:
        """Stop PostgreSQL in a random way, assert that requests are refused as unavailable, and start it again."""
        ways = (lambda: kill_postmaster(server), lambda: server.stop("immediate"), lambda: server.stop("fast"))
        load_run.rng.choice(ways)()
        load_run.wait_for_refusals(more=10)
        for method, path in (("POST", "rooms"), ("GET", "rooms"), ("GET", f"rooms/{ROOM}")):
            body = {"name": "nowhere", "roles": ["builder"]} if method == "POST" else None
            answer = load_run.installation.api.call(method, path, body)
            assert (503, "store_unavailable") == (answer.status, answer.body["code"]), (path, answer)
            assert answer.body["guidance"]
        time.sleep(away_s)
        server.start()


class TestDatabaseKilled(OwnPostgres):
    def test_recovery(self, installation: Installation, own_postgres: PostgresServer) -> None:
        self.check_outages(LoadRun(installation, seed=8), own_postgres, away_s_max=0.5, times=2)

    @pytest.mark.prove
    def test_killed_fifty_times(self, installation: Installation, own_postgres: PostgresServer) -> None:
        self.check_outages(LoadRun(installation, seed=88), own_postgres, away_s_max=2.0, times=50)

    def check_outages(self, load_run: LoadRun, server: PostgresServer, away_s_max: float, times: int) -> None:
        load_run.run(lambda: self.disturb(load_run, server, load_run.rng.uniform(0, away_s_max)), times)
        counts = [
            load_run.count_log_lines("unavailable: database"),
            load_run.count_log_lines("available again: database"),
        ]
        assert [times, times] == counts, "each outage and each recovery is logged once"


@pytest.mark.prove
class TestLongDatabaseOutage(OwnPostgres):
    @pytest.fixture
    def durations(self) -> Mapping[str, str]:
        return PATIENT_DURATIONS | {"GREENROOM_HEARTBEAT_INTERVAL_S": "5", "GREENROOM_HEARTBEAT_TTL_S": f"{LEASE_S}"}

    def test_recovery(self, installation: Installation, own_postgres: PostgresServer) -> None:
        """Only with the client that sends heartbeats: the agents of the load send none."""
        load_run = LoadRun(installation, seed=89, workers=())
        load_run.run(lambda: self.disturb(load_run, own_postgres, 1.5 * LEASE_S), times=2)


@pytest.mark.parametrize("times", [8, pytest.param(200, marks=pytest.mark.prove)])
def test_terminated_session_fails_one_batch(
    installation: Installation, postgres: PostgresServer, database: str, times: int
) -> None:
    load_run = LoadRun(installation, seed=9)
    load_run.run(lambda: terminate_sessions(postgres, database), times)
    assert load_run.count_log_lines("batch not committed") <= times, "a terminated session fails at most one batch"
    assert load_run.load.request_log.refusals <= times * len(load_run.load.clients)


def second_server(installation: Installation, url: str) -> StartedProcess:
    """Another server on the same database, with a data directory of its own."""
    arguments = ("--listen", "127.0.0.1:0", "--data-dir", str(installation.root / "other"))
    return installation.start("server", *arguments, "--database", url)


def test_second_server_is_rejected(installation: Installation, database: str) -> None:
    load_run = LoadRun(installation, seed=10)

    def start_second() -> None:
        second = second_server(installation, database)
        assert ALREADY_RUNNING == second.wait()
        assert "Another server uses" in second.err

    def start_second_while_suspended() -> None:
        assert installation.server is not None
        installation.server.send(signal.SIGSTOP)
        start_second()
        installation.server.send(signal.SIGCONT)

    faults = iter((start_second, start_second_while_suspended))
    load_run.run(lambda: next(faults)(), times=2)


def test_suspended_server_is_fenced_by_successor(
    installation: Installation, postgres: PostgresServer, database: str
) -> None:
    """Its session is terminated while it is suspended, and a second server starts; the first must not serve what it was
    sent meanwhile.
    """
    first = installation.server
    assert first is not None
    first_connection = ApiConnection(installation.url, installation.token)
    assert (
        201
        == first_connection.request("POST", f"rooms/{ROOM}/messages", {"sender": "user", "text": "of the first"}).status
    )
    first.send(signal.SIGSTOP)
    terminate_sessions(postgres, database)
    second = second_server(installation, database)
    url = wait_until(lambda: listening(second), "the second server listens").removeprefix("listening on ")
    with closing(ApiConnection(url, installation.token)) as connection:
        body = {"sender": "user", "text": "of the second"}
        assert 201 == connection.request("POST", f"rooms/{ROOM}/messages", body).status
        first_connection.send_and_reset(
            f"rooms/{ROOM}/messages", {"sender": "user", "text": "asked of the stopped one"}, after_s=0.1
        )
        first.send(signal.SIGCONT)
        assert 0 != first.wait()
        messages = connection.request("GET", f"rooms/{ROOM}/messages").body
        events = connection.request("GET", "events?limit=1000").body
    first_connection.close()
    assert ["of the first", "of the second"] == [message["text"] for message in messages]
    assert [event["pos"] for event in events] == sorted({event["pos"] for event in events})
