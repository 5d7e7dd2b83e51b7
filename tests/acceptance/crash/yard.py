"""The databases, durations and room of the crash tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.acceptance.crash.crowd import PLACES, ROLES, ROOM, WATCHER
from tests.acceptance.house import CALM, House
from tests.waiting import PATIENCE_S

SQLITE, POSTGRESQL = "sqlite", "postgresql"
UNHURRIED = CALM | {
    "GREENROOM_DATABASE_TIMEOUT_S": f"{2 * PATIENCE_S:g}",
    "GREENROOM_EVENTS_KEPT_MAX": "10000000",
}
"""No lease expires, and no database counts as unavailable, because the computer is busy. (The agents do not beat.)

The long database timeout makes a test hang if a refusal waits for a database that is unavailable, or if one counts as
unavailable for too long. The limit on events keeps the whole log, however much a fast computer gets done.
"""


def open_yard(house: House) -> None:
    """Start the server, and open the room of the load."""
    house.start_server()
    house.run("room", "create", ROOM, "--roles", ",".join((*ROLES, WATCHER)), "--max-requests", str(PLACES))


def check_file(house: House) -> None:
    """Kill the server once more, and have SQLite check the database file. PostgreSQL checks its own."""
    assert house.server is not None
    house.server.kill()
    if not house.store_words:
        with closing(sqlite3.connect(house.data_dir / "greenroom.db")) as connection:
            assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
            assert [] == connection.execute("PRAGMA foreign_key_check").fetchall()
