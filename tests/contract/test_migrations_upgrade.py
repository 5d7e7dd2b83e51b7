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
from typing import Any

import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.store.migrations.runner import CURRENT_REVISION
from greenroom.store.schema import SCHEMA_VERSION
from greenroom.store.store import DATABASE_NAME
from greenroom.testing import MovedClock
from tests.architecture.tree import ROOT
from tests.contract.catalogue import catalogue
from tests.contract.migration_databases import FIRST, MigrationDatabase

BACKUP = f"{DATABASE_NAME}.before-{CURRENT_REVISION}"
CreateDatabase = Callable[[str], MigrationDatabase]


@pytest.fixture
def old(create_database: CreateDatabase) -> MigrationDatabase:
    database = create_database("old")
    database.create_first_version()
    return database


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def catalogue_of(database: MigrationDatabase) -> set[str]:
    with database.begin() as connection:
        return catalogue(connection)


TABLES = {
    "answers": "idempotency_keys",
    "attentions": "alerts",
    "facts": "reports",
    "keys": "secrets",
    "sittings": "participants",
}
COLUMNS = {
    "deaths": "failures",
    "rests_until": "hold_until",
    "wished_at": "configured_at",
    "wishes_version": "assignments_version",
}
"""What revision 0004 renamed."""
LATE_RESULT_ALERT = "late_result:task_wv3j7ihrja7zlhps"
"""The alert that revision 0004 raises for the open task that has a late result."""


def present_names(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the names of today; of events and answers only what every upgrade leaves as it is."""
    rewritten = {"body"} if "digest" in row else {"type", "cause", "data"} if "pos" in row else set()
    return {COLUMNS.get(name, name): value for name, value in row.items() if name not in rewritten}


def kept_columns(after: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows after an upgrade, with the columns that they had before it, and without the alerts that it raises."""
    columns = present_names(before[0]).keys() if before else ()
    return [{column: row[column] for column in columns} for row in after if row.get("key") != LATE_RESULT_ALERT]


def test_upgrade_keeps_all_rows(old: MigrationDatabase) -> None:
    before = old.all_rows()
    assert [name for name, rows in before.items() if not rows] == []

    old.upgrade()

    after = old.all_rows()
    for name, rows in before.items():
        assert kept_columns(after[TABLES.get(name, name)], rows) == [present_names(row) for row in rows]


def test_upgrade_raises_alerts_for_late_results(old: MigrationDatabase) -> None:
    old.execute(
        ("INSERT INTO attentions VALUES ('mass_silence', NULL, 'Look.', '[\"m1\"]', '2026-01-01T00:00:00.000Z')",)
    )

    old.upgrade()

    rows = {row["key"]: row for row in old.all_rows()["alerts"]}
    [task] = [row for row in old.all_rows()["tasks"] if LATE_RESULT_ALERT.endswith(row["id"])]
    assert {LATE_RESULT_ALERT, "mass_silence:server", "vacant:shop/till"} == rows.keys()
    assert rows[LATE_RESULT_ALERT]["room"] == task["room"]
    assert rows["mass_silence:server"]["subjects"] == '["m1"]'


def test_upgrade_fills_new_task_columns(old: MigrationDatabase) -> None:
    old.upgrade()

    tasks = old.all_rows()["tasks"]
    assert {task["origin"] for task in tasks} == {"message"}
    assert {(task["status"], task["accepted_attempt"]) for task in tasks} == {
        ("completed", 1),
        ("pending", None),
        ("in_progress", None),
        ("queued", None),
    }


def test_upgrade_derives_hold_and_closed_at(old: MigrationDatabase) -> None:
    old.upgrade_to(2)
    assert old.stamp()[-1] == "0002"
    old.execute(
        (
            "UPDATE roles SET rests_until = '2026-01-01T00:00:00.000Z' WHERE name = 'till'",
            "INSERT INTO events SELECT max(pos) + 1, 'room:' || (SELECT id FROM rooms WHERE name = 'shop'), 1000,"
            " 'room.closed', '2026-02-02T00:00:00.000Z', 'operator', '{}' FROM events",
            "UPDATE rooms SET status = 'closed' WHERE name = 'shop'",
        )
    )

    before = old.all_rows()
    old.upgrade()

    after = old.all_rows()
    for name, rows in before.items():
        assert kept_columns(after[TABLES.get(name, name)], rows) == [present_names(row) for row in rows]
    assert {(role["run_generation"] - role["generation"], role["empty"]) for role in after["roles"]} == {(0, "ok")}
    holds = {role["name"]: (role["hold"], role["configured_at"], role["task_timeout_s"]) for role in after["roles"]}
    assert holds.pop("till") == ("backing_off", None, None)
    assert set(holds.values()) == {(None, None, None)}
    closed = {room["name"]: room["closed_at"] for room in after["rooms"]}
    assert closed.pop("shop") == "2026-02-02T00:00:00.000Z"
    assert set(closed.values()) <= {None}


def test_open_upgrades_once(old: MigrationDatabase, clock: MovedClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greenroom.store")
    before = catalogue_of(old)

    old.open(clock).close()
    old.open(clock).close()

    assert catalogue_of(old) != before
    assert old.stamp() == ([str(SCHEMA_VERSION), CURRENT_REVISION] if old.kind == "sqlite" else [CURRENT_REVISION])
    messages = [record.message for record in caplog.records if "schema" in record.message]
    assert len(messages) == 2
    assert f"from schema {FIRST} to {CURRENT_REVISION}" in messages[0]


@pytest.mark.parametrize("create_database", ["sqlite"], indirect=True)
def test_upgrade_backs_up_file(old: MigrationDatabase, clock: MovedClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greenroom.store")
    rows, tables = old.all_rows(), catalogue_of(old)

    old.open(clock).close()

    backup = old.directory / BACKUP
    assert {path.name for path in old.directory.iterdir()} == {DATABASE_NAME, BACKUP, "server.lock"}
    assert backup.stat().st_mode & 0o777 == 0o600
    assert str(backup) in caplog.text
    backup.rename(old.directory / DATABASE_NAME)
    assert (old.all_rows(), catalogue_of(old), old.stamp()) == (rows, tables, ["1"])


@pytest.mark.parametrize("create_database", ["sqlite"], indirect=True)
def test_no_upgrade_without_backup(old: MigrationDatabase, clock: MovedClock) -> None:
    (old.directory / BACKUP).mkdir()

    with pytest.raises(ConfigurationError, match="directory") as rejection:
        old.open(clock)

    assert rejection.value.code == "store_unusable"
    assert old.stamp() == ["1"]
    assert {path.name for path in old.directory.iterdir()} == {DATABASE_NAME, BACKUP, "server.lock"}


@pytest.mark.parametrize("create_database", ["sqlite"], indirect=True)
def test_no_backup_of_new_or_current_file(create_database: CreateDatabase, clock: MovedClock) -> None:
    database = create_database("new")
    for _ in range(2):
        database.open(clock).close()

    assert not (database.directory / BACKUP).exists()


def test_failed_upgrade_changes_nothing(old: MigrationDatabase, clock: MovedClock) -> None:
    old.execute(["CREATE TABLE notes (mine TEXT, yours TEXT)"])
    rows, tables, stamp = old.all_rows(), catalogue_of(old), old.stamp()

    with pytest.raises(ConfigurationError, match="notes") as rejection:
        old.open(clock)

    assert rejection.value.code == "store_unusable"
    assert "CREATE" not in rejection.value.detail
    assert (old.all_rows(), catalogue_of(old), old.stamp()) == (rows, tables, stamp)
    old.execute(["DROP TABLE notes"])
    old.open(clock).close()


KILLED_UPGRADE_SCRIPT = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from tests.contract.migration_databases import MigrationDatabase

def kill(*arguments):
    if sys.argv[3] in str(arguments):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, sys.argv[4], kill)
MigrationDatabase(Path(sys.argv[1]), sys.argv[2] or None).upgrade()
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("statement", "event"),
    [("ck_tasks_origin", "after_cursor_execute"), ("CREATE TABLE notes", "after_cursor_execute"), ("", "commit")],
)
def test_killed_upgrade_changes_nothing(old: MigrationDatabase, clock: MovedClock, statement: str, event: str) -> None:
    rows, tables, stamp = old.all_rows(), catalogue_of(old), old.stamp()

    ended = subprocess.run(
        [sys.executable, "-c", KILLED_UPGRADE_SCRIPT, old.directory, old.url or "", statement, event],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )

    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert (old.all_rows(), catalogue_of(old), old.stamp()) == (rows, tables, stamp)
    old.open(clock).close()
    assert old.stamp()[-1] == CURRENT_REVISION


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["UPDATE greenroom_revision SET version_num = '9999'"], "newer Greenroom"),
        (["UPDATE greenroom_revision SET version_num = 'ae1027a6'"], "not a Greenroom database"),
        (["DELETE FROM greenroom_revision"], "not a Greenroom database"),
    ],
)
def test_unknown_stamp_is_rejected(
    create_database: CreateDatabase, clock: MovedClock, statements: list[str], message: str
) -> None:
    database = create_database("strange")
    database.open(clock).close()
    database.execute(statements)
    rows = database.all_rows()

    with pytest.raises(ConfigurationError, match=message) as rejection:
        database.open(clock)

    assert rejection.value.code == "store_unusable"
    assert rejection.value.guidance
    assert database.all_rows() == rows


@pytest.mark.parametrize("table", ["alembic_version (version_num TEXT)", "tasks (id TEXT)"])
def test_foreign_database_is_rejected(create_database: CreateDatabase, clock: MovedClock, table: str) -> None:
    database = create_database("foreign")
    database.execute([f"CREATE TABLE {table}"])
    tables = catalogue_of(database)

    with pytest.raises(ConfigurationError, match="not a Greenroom database"):
        database.open(clock)

    assert catalogue_of(database) == tables


@pytest.mark.process
def test_alembic_is_imported_only_to_upgrade(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import greenroom.server.run; from greenroom.clock import SystemClock\n"
        "from greenroom.store.store import Store\n"
        "for _ in range(2): Store.open(Path(sys.argv[1]), SystemClock()).close()\n"
        "print('alembic' in sys.modules)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, tmp_path], check=True, capture_output=True, encoding="utf-8"
    )

    assert finished.stdout == "False\n"
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(SCHEMA_VERSION,)]
