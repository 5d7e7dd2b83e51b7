"""Where the trials take place: a house on one of the databases, with the room of the crowd. Must not know any trial."""

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
"""Nobody is thought dead, and no database away, because a computer is busy. Agents here do not beat: they claim.

A refusal that waits for a database which is away, or one that counts as away for longer than it is, hangs the test. And
however much a quick computer gets done, the auditor finds the whole log.
"""


def open_yard(house: House) -> None:
    """Start its server, and open the room of the crowd."""
    house.start_server()
    house.run("room", "create", ROOM, "--roles", ",".join((*ROLES, WATCHER)), "--max-requests", str(PLACES))


def check_file(house: House) -> None:
    """Kill the server once more, and have SQLite itself look at what it leaves. PostgreSQL looks after its own."""
    assert house.server is not None
    house.server.kill()
    if not house.store_words:
        with closing(sqlite3.connect(house.data_dir / "greenroom.db")) as connection:
            assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
            assert [] == connection.execute("PRAGMA foreign_key_check").fetchall()
