"""A store of the first version is upgraded when it is opened: no data is lost, and a failed upgrade changes nothing."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from greenroom.clock import MovedClock
from greenroom.domain.errors import ConfigurationError
from greenroom.store.migrating import REVISION
from greenroom.store.schema import SCHEMA_VERSION
from greenroom.store.store import DATABASE_NAME
from tests.architecture.tree import ROOT
from tests.contract.aged import FIRST, Place
from tests.contract.catalogue import catalogue

COPY = f"{DATABASE_NAME}.before-{REVISION}"
Empty = Callable[[str], Place]


@pytest.fixture
def old(empty: Empty) -> Place:
    place = empty("old")
    place.make_first()
    return place


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def facts_of(place: Place) -> set[str]:
    with place.begin() as connection:
        return catalogue(connection)


def test_every_row_is_kept(old: Place) -> None:
    before = old.rows()
    assert [name for name, rows in before.items() if not rows] == []

    old.upgrade()

    after = old.rows()
    for name, rows in before.items():
        columns = rows[0].keys()
        assert [{column: row[column] for column in columns} for row in after[name]] == rows


def test_what_is_new_of_a_task_is_filled_in(old: Place) -> None:
    old.upgrade()

    tasks = old.rows()["tasks"]
    assert {task["origin"] for task in tasks} == {"message"}
    assert {(task["status"], task["accepted_attempt"]) for task in tasks} == {
        ("completed", 1),
        ("pending", None),
        ("in_progress", None),
        ("queued", None),
    }


def test_who_rested_backed_off_and_a_closed_room_was_closed_when_the_log_says_so(old: Place) -> None:
    old.upgrade_to(2)
    assert old.stamp()[-1] == "0002"
    old.run(
        (
            "UPDATE roles SET rests_until = '2026-01-01T00:00:00.000Z' WHERE name = 'till'",
            "INSERT INTO events SELECT max(pos) + 1, 'room:' || (SELECT id FROM rooms WHERE name = 'shop'), 1000,"
            " 'room.closed', '2026-02-02T00:00:00.000Z', 'operator', '{}' FROM events",
            "UPDATE rooms SET status = 'closed' WHERE name = 'shop'",
        )
    )

    before = old.rows()
    old.upgrade()

    after = old.rows()
    for name, rows in before.items():
        assert [{column: row[column] for column in rows[0]} if rows else {} for row in after[name]] == rows
    rests = {role["name"]: (role["rests_as"], role["wished_at"], role["task_timeout_s"]) for role in after["roles"]}
    assert rests.pop("till") == ("backing_off", None, None)
    assert set(rests.values()) == {(None, None, None)}
    closed = {room["name"]: room["closed_at"] for room in after["rooms"]}
    assert closed.pop("shop") == "2026-02-02T00:00:00.000Z"
    assert set(closed.values()) <= {None}


def test_opening_it_upgrades_it(old: Place, clock: MovedClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greenroom.store")
    before = facts_of(old)

    old.open(clock).close()
    old.open(clock).close()

    assert facts_of(old) != before
    assert old.stamp() == ([str(SCHEMA_VERSION), REVISION] if old.database == "sqlite" else [REVISION])
    told = [record.message for record in caplog.records if "schema" in record.message]
    assert len(told) == 2
    assert f"from schema {FIRST} to {REVISION}" in told[0]


@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_file_is_kept_as_it_was(old: Place, clock: MovedClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greenroom.store")
    rows, facts = old.rows(), facts_of(old)

    old.open(clock).close()

    copy = old.directory / COPY
    assert {path.name for path in old.directory.iterdir()} == {DATABASE_NAME, COPY, "server.lock"}
    assert copy.stat().st_mode & 0o777 == 0o600
    assert str(copy) in caplog.text
    copy.rename(old.directory / DATABASE_NAME)
    assert (old.rows(), facts_of(old), old.stamp()) == (rows, facts, ["1"])


@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_file_that_cannot_be_copied_is_not_upgraded(old: Place, clock: MovedClock) -> None:
    (old.directory / COPY).mkdir()

    with pytest.raises(ConfigurationError, match="directory") as refused:
        old.open(clock)

    assert refused.value.code == "store_unusable"
    assert old.stamp() == ["1"]
    assert {path.name for path in old.directory.iterdir()} == {DATABASE_NAME, COPY, "server.lock"}


@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_new_file_and_one_of_today_are_not_copied(empty: Empty, clock: MovedClock) -> None:
    place = empty("new")
    for _ in range(2):
        place.open(clock).close()

    assert not (place.directory / COPY).exists()


def test_an_upgrade_that_fails_changes_nothing(old: Place, clock: MovedClock) -> None:
    old.run(["CREATE TABLE notes (mine TEXT, yours TEXT)"])
    rows, facts, stamp = old.rows(), facts_of(old), old.stamp()

    with pytest.raises(ConfigurationError, match="notes") as refused:
        old.open(clock)

    assert refused.value.code == "store_unusable"
    assert "CREATE" not in refused.value.detail
    assert (old.rows(), facts_of(old), old.stamp()) == (rows, facts, stamp)
    old.run(["DROP TABLE notes"])
    old.open(clock).close()


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from tests.contract.aged import Place

def die(*told):
    if sys.argv[3] in str(told):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, sys.argv[4], die)
Place(Path(sys.argv[1]), sys.argv[2] or None).upgrade()
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("when", "at"),
    [("ck_tasks_origin", "after_cursor_execute"), ("CREATE TABLE notes", "after_cursor_execute"), ("", "commit")],
)
def test_an_upgrade_that_is_killed_changes_nothing(old: Place, clock: MovedClock, when: str, at: str) -> None:
    rows, facts, stamp = old.rows(), facts_of(old), old.stamp()

    ended = subprocess.run(
        [sys.executable, "-c", KILLED, old.directory, old.url or "", when, at],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )

    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (old.rows(), facts_of(old), old.stamp()) == (rows, facts, stamp)
    old.open(clock).close()
    assert old.stamp()[-1] == REVISION


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["UPDATE greenroom_revision SET version_num = '9999'"], "newer Greenroom"),
        (["UPDATE greenroom_revision SET version_num = 'ae1027a6'"], "not a Greenroom database"),
        (["DELETE FROM greenroom_revision"], "not a Greenroom database"),
    ],
)
def test_a_stamp_that_we_do_not_know_is_refused(
    empty: Empty, clock: MovedClock, statements: list[str], says: str
) -> None:
    place = empty("strange")
    place.open(clock).close()
    place.run(statements)
    rows = place.rows()

    with pytest.raises(ConfigurationError, match=says) as refused:
        place.open(clock)

    assert refused.value.code == "store_unusable"
    assert refused.value.guidance
    assert place.rows() == rows


@pytest.mark.parametrize("table", ["alembic_version (version_num TEXT)", "tasks (id TEXT)"])
def test_the_database_of_another_program_is_left_alone(empty: Empty, clock: MovedClock, table: str) -> None:
    place = empty("foreign")
    place.run([f"CREATE TABLE {table}"])
    facts = facts_of(place)

    with pytest.raises(ConfigurationError, match="not a Greenroom database"):
        place.open(clock)

    assert facts_of(place) == facts


@pytest.mark.process
def test_alembic_is_imported_only_to_upgrade(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import greenroom.server.run; from greenroom.clock import SystemClock\n"
        "from greenroom.store.store import Store\n"
        "for _ in range(2): Store.open(Path(sys.argv[1]), SystemClock()).close()\n"
        "print('alembic' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True, encoding="utf-8")

    assert told.stdout == "False\n"
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(SCHEMA_VERSION,)]
