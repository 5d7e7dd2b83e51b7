"""The server as a process on PostgreSQL: start, the lock against a second server, and outages of the database."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from greenroom.client.api_client import ApiClient
from greenroom.domain.errors import Unavailable
from greenroom.store.postgres.advisory_lock import LOCK_KEY
from greenroom.wire import requests
from tests.postgres import LENIENT_LIMITS, PostgresServer, server_folder
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ADVISORY = "FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND datname = %s"


class PostgresServerProcess:
    """`greenroom server`, with its database set by an environment variable."""

    def __init__(
        self, data_dir: Path, database: str, *flags: str, pass_fds: tuple[int, ...] = (), **variables: str
    ) -> None:
        self.data_dir = data_dir
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
        command = [sys.executable, "-m", "greenroom", "server", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir)]
        self.process = subprocess.Popen(
            [*command, *flags],
            stderr=subprocess.PIPE,
            env={**environ, "GREENROOM_DATABASE": database, **variables},
            pass_fds=pass_fds,
            encoding="utf-8",
        )
        assert self.process.stderr is not None
        self.stderr = self.process.stderr
        self.session: ApiClient | None = None

    def wait_until_ready(self) -> ApiClient:
        for line in self.stderr:
            if line.startswith("listening on "):
                token = (self.data_dir / "operator.token").read_text().strip()
                self.session = ApiClient(line.removeprefix("listening on ").strip(), token, LENIENT_LIMITS)
                return self.session
        raise AssertionError(f"the server exited with {self.process.wait()}")

    def wait_for_exit(self) -> tuple[int, str]:
        return self.process.wait(PATIENCE_S), self.stderr.read()


StartServer = Callable[..., PostgresServerProcess]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    started: list[PostgresServerProcess] = []

    def start(data_dir: Path, database: str, *flags: str, **options: Any) -> PostgresServerProcess:
        started.append(PostgresServerProcess(data_dir, database, *flags, **options))
        return started[-1]

    yield start
    for server_process in started:
        server_process.process.kill()
        server_process.process.wait()
        server_process.stderr.close()
        if server_process.session is not None:
            server_process.session.close()


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as database_url:
        yield database_url


def create_room(session: ApiClient, name: str) -> None:
    session.create_room(requests.CreateRoom(name=name, roles=["builder"]))


def list_room_names(session: ApiClient) -> list[str]:
    return [room.name for room in session.rooms()]


def test_restart_after_kill_keeps_state(start_server: StartServer, tmp_path: Path, url: str) -> None:
    first = start_server(tmp_path, url)
    create_room(first.wait_until_ready(), "shop")
    first.process.kill()
    first.process.wait()
    assert "greenroom.db" not in [path.name for path in tmp_path.iterdir()]

    again = start_server(tmp_path, url).wait_until_ready()
    assert list_room_names(again) == ["shop"]


def test_second_server_names_lock_holder(start_server: StartServer, tmp_path: Path, url: str) -> None:
    first = start_server(tmp_path / "one", url)
    first.wait_until_ready()

    code, stderr_text = start_server(tmp_path / "two", url).wait_for_exit()

    assert code == 78
    assert re.search(rf"greenroom server {first.process.pid}@.* since 20\d\d-", stderr_text)


def test_server_exits_when_lock_is_taken(
    start_server: StartServer, tmp_path: Path, url: str, postgres: PostgresServer
) -> None:
    first = start_server(tmp_path, url)
    first.wait_until_ready()
    name = conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True, application_name="another one") as other, ThreadPoolExecutor(1) as pool:
        other.execute(f"SET lock_timeout = '{PATIENCE_S}s'")
        # It queues before the lock is free, or the first server might take the lock again sooner.
        pending_lock = pool.submit(other.execute, f"SELECT pg_advisory_lock({LOCK_KEY})")
        wait_until(
            lambda: postgres.run_as_superuser(f"SELECT 1 {ADVISORY} AND NOT granted", name),
            "another connection waits for the lock",
        )
        postgres.run_as_superuser(f"SELECT pg_terminate_backend(pid) {ADVISORY} AND granted", name)
        pending_lock.result()
        code, stderr_text = first.wait_for_exit()
    assert code == 78
    assert "another one" in stderr_text


def test_database_outage_and_return(start_server: StartServer, tmp_path: Path) -> None:
    own_postgres = PostgresServer(server_folder(tmp_path))
    with own_postgres.database() as url:
        session = start_server(tmp_path, url).wait_until_ready()
        create_room(session, "shop")
        own_postgres.stop("immediate")
        for call in (lambda: create_room(session, "other"), lambda: list_room_names(session)):
            with pytest.raises(Unavailable):
                call()

        own_postgres.start()

        wait_until(lambda: succeeds(lambda: list_room_names(session)), "the server reads from the database again")
        assert list_room_names(session) == ["shop"]
        create_room(session, "other")
        assert list_room_names(session) == ["shop", "other"]
        own_postgres.stop("fast")
        own_postgres.start()
        wait_until(lambda: succeeds(lambda: list_room_names(session)), "the server reads from the database again")
        assert list_room_names(session) == ["shop", "other"]
    own_postgres.close()


def test_beats_work_while_database_hangs(start_server: StartServer, tmp_path: Path) -> None:
    own_postgres = PostgresServer(server_folder(tmp_path))
    with own_postgres.database() as url:
        session = start_server(tmp_path, url, GREENROOM_DATABASE_TIMEOUT_S="3").wait_until_ready()
        create_room(session, "shop")
        session.join("shop", "builder", "a")
        with own_postgres.suspended():
            for call in (lambda: create_room(session, "other"), lambda: list_room_names(session)):
                with pytest.raises(Unavailable, match=r"did not answer|timeout"):
                    call()
            beat = session.beat("shop", "builder", "a")
            assert beat.status == "ok"
        wait_until(lambda: succeeds(lambda: create_room(session, "third")), "the server writes again")
        assert list_room_names(session) == ["shop", "third"]
    own_postgres.close()


def wait_until_it_waits(server: PostgresServerProcess) -> str:
    """Wait for the line that says what the server waits for, and return it."""
    return next(line for line in server.stderr if "waiting for its store" in line)


def test_server_waits_for_a_database_that_is_away(start_server: StartServer, tmp_path: Path) -> None:
    """It says so once, listens only when it can answer, and needs nobody to start it again."""
    own_postgres = PostgresServer(server_folder(tmp_path))
    with own_postgres.database() as url:
        own_postgres.stop("immediate")
        server = start_server(tmp_path / "other", url)
        line = wait_until_it_waits(server)
        assert "Start PostgreSQL" in line
        assert "createdb" not in line
        assert not (tmp_path / "other" / "server.url").exists(), "it does not listen yet"
        assert (
            (tmp_path / "other" / "server.lock").read_text().startswith(f"{server.process.pid}\nwaiting for its store")
        )

        own_postgres.start()

        later = []
        for line in server.stderr:
            later.append(line)
            if line.startswith("listening on "):
                break
        assert [] == [line for line in later if "waiting" in line]
        assert f"{server.process.pid}\n\n" == (tmp_path / "other" / "server.lock").read_text()
    own_postgres.close()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_waiting_server_is_stopped_like_a_running_one(
    start_server: StartServer, tmp_path: Path, signal_number: signal.Signals
) -> None:
    server = start_server(tmp_path, "postgresql://me:hush-hush@127.0.0.1:1/greenroom")
    assert "hush" not in wait_until_it_waits(server)
    server.process.send_signal(signal_number)
    assert (0, "") == server.wait_for_exit()


def test_waiting_server_ends_with_its_parent(start_server: StartServer, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    server = start_server(
        tmp_path, "postgresql://me@127.0.0.1:1/greenroom", "--follow", str(reading), pass_fds=(reading,)
    )
    wait_until_it_waits(server)
    os.close(reading)
    os.close(writing)
    assert (0, "") == server.wait_for_exit()


def succeeds(call: Callable[[], object]) -> bool:
    with suppress(Unavailable):
        call()
        return True
    return False


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        ("postgresql://me:hush@hush@127.0.0.1/greenroom", "%40"),
        ("postgresql://me:hush/hush@127.0.0.1/greenroom", "%2F"),
        ("host=127.0.0.1 password=hush", "not a PostgreSQL URL"),
        ("mysql://me:hush@127.0.0.1/greenroom", "not a PostgreSQL URL"),
    ],
)
def test_database_error_hides_password(start_server: StartServer, tmp_path: Path, database: str, expected: str) -> None:
    code, stderr_text = start_server(tmp_path, database).wait_for_exit()
    assert code == 78
    assert expected in stderr_text
    assert "hush" not in stderr_text
