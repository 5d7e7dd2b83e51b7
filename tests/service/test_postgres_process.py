"""The server as a process on PostgreSQL: start, the lock against a second server, and outages of the database."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from greenroom.client.session import Session
from greenroom.domain.errors import Unavailable
from greenroom.store.postgres.lock import KEY
from greenroom.wire import requests
from tests.postgres import UNHURRIED, Server, place_of
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

ADVISORY = "FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND datname = %s"


class Served:
    """`greenroom server`, with its database set by an environment variable."""

    def __init__(self, data_dir: Path, database: str, *flags: str, **more: str) -> None:
        self.data_dir = data_dir
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
        command = [sys.executable, "-m", "greenroom", "server", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir)]
        self.process = subprocess.Popen(
            [*command, *flags],
            stderr=subprocess.PIPE,
            env={**environ, "GREENROOM_DATABASE": database, **more},
            encoding="utf-8",
        )
        assert self.process.stderr is not None
        self.lines = self.process.stderr
        self.session: Session | None = None

    def ready(self) -> Session:
        for line in self.lines:
            if line.startswith("listening on "):
                token = (self.data_dir / "operator.token").read_text().strip()
                self.session = Session(line.removeprefix("listening on ").strip(), token, UNHURRIED)
                return self.session
        raise AssertionError(f"the server exited with {self.process.wait()}")

    def ended(self) -> tuple[int, str]:
        return self.process.wait(PATIENCE_S), self.lines.read()


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Served] = []

    def start(data_dir: Path, database: str, *flags: str, **more: str) -> Served:
        started.append(Served(data_dir, database, *flags, **more))
        return started[-1]

    yield start
    for served in started:
        served.process.kill()
        served.process.wait()
        served.lines.close()
        if served.session is not None:
            served.session.close()


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    with postgres.database() as made:
        yield made


def open_room(session: Session, name: str) -> None:
    session.create_room(requests.CreateRoom(name=name, roles=["builder"]))


def names_of(session: Session) -> list[str]:
    return [room.name for room in session.rooms()]


def test_killed_and_started_again_it_remembers(serve: Serve, tmp_path: Path, url: str) -> None:
    first = serve(tmp_path, url)
    open_room(first.ready(), "shop")
    first.process.kill()
    first.process.wait()
    assert "greenroom.db" not in [path.name for path in tmp_path.iterdir()]

    again = serve(tmp_path, url).ready()
    assert names_of(again) == ["shop"]


def test_a_second_server_on_the_same_database_says_who_has_it(serve: Serve, tmp_path: Path, url: str) -> None:
    first = serve(tmp_path / "one", url)
    first.ready()

    code, said = serve(tmp_path / "two", url).ended()

    assert code == 78
    assert re.search(rf"greenroom server {first.process.pid}@.* since 20\d\d-", said)


def test_it_ends_when_another_server_has_taken_the_lock(
    serve: Serve, tmp_path: Path, url: str, postgres: Server
) -> None:
    first = serve(tmp_path, url)
    first.ready()
    name = conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True, application_name="another one") as other, ThreadPoolExecutor(1) as pool:
        other.execute(f"SET lock_timeout = '{PATIENCE_S}s'")
        # It queues before the lock is free, or the first server might take the lock again sooner.
        taken = pool.submit(other.execute, f"SELECT pg_advisory_lock({KEY})")
        wait_until(
            lambda: postgres.admin(f"SELECT 1 {ADVISORY} AND NOT granted", name),
            "another connection waits for the lock",
        )
        postgres.admin(f"SELECT pg_terminate_backend(pid) {ADVISORY} AND granted", name)
        taken.result()
        code, said = first.ended()
    assert code == 78
    assert "another one" in said


def test_a_database_that_goes_and_comes_back(serve: Serve, tmp_path: Path) -> None:
    own = Server(place_of(tmp_path))
    with own.database() as url:
        session = serve(tmp_path, url).ready()
        open_room(session, "shop")
        own.stop("immediate")
        for call in (lambda: open_room(session, "other"), lambda: names_of(session)):
            with pytest.raises(Unavailable):
                call()

        own.start()

        wait_until(lambda: is_answered(lambda: names_of(session)), "the server reads from the database again")
        assert names_of(session) == ["shop"]
        open_room(session, "other")
        assert names_of(session) == ["shop", "other"]
        own.stop("fast")
        own.start()
        wait_until(lambda: is_answered(lambda: names_of(session)), "the server reads from the database again")
        assert names_of(session) == ["shop", "other"]
    own.close()


def test_beats_go_on_while_a_database_hangs(serve: Serve, tmp_path: Path) -> None:
    own = Server(place_of(tmp_path))
    with own.database() as url:
        session = serve(tmp_path, url, GREENROOM_DATABASE_TIMEOUT_S="3").ready()
        open_room(session, "shop")
        session.join("shop", "builder", "a")
        with own.hanging():
            for call in (lambda: open_room(session, "other"), lambda: names_of(session)):
                with pytest.raises(Unavailable, match=r"did not answer|timeout"):
                    call()
            beat = session.beat("shop", "builder", "a")
            assert beat.status == "ok"
        wait_until(lambda: is_answered(lambda: open_room(session, "third")), "the server writes again")
        assert names_of(session) == ["shop", "third"]
    own.close()


def is_answered(call: Callable[[], object]) -> bool:
    with suppress(Unavailable):
        call()
        return True
    return False


@pytest.mark.parametrize(
    ("database", "says"),
    [
        ("postgresql://me:hush-hush@127.0.0.1:1/greenroom", "Start PostgreSQL"),
        ("postgresql://me:hush@hush@127.0.0.1/greenroom", "%40"),
        ("postgresql://me:hush/hush@127.0.0.1/greenroom", "%2F"),
        ("host=127.0.0.1 password=hush", "no URL of PostgreSQL"),
        ("mysql://me:hush@127.0.0.1/greenroom", "no URL of PostgreSQL"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_password(
    serve: Serve, tmp_path: Path, database: str, says: str
) -> None:
    code, said = serve(tmp_path, database).ended()
    assert code == 78
    assert says in said
    assert "hush" not in said
