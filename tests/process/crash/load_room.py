"""The databases, durations and room of the crash tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.process.crash.load_generator import HEARTBEAT_ROLE, REQUESTS_MAX, ROLES, ROOM
from tests.process.installation import BASE_DURATIONS, Installation
from tests.waiting import PATIENCE_S

SQLITE, POSTGRESQL = "sqlite", "postgresql"
PATIENT_DURATIONS = BASE_DURATIONS | {
    "GREENROOM_DATABASE_TIMEOUT_S": f"{2 * PATIENCE_S:g}",
    "GREENROOM_EVENTS_KEPT_MAX": "10000000",
}
"""No lease expires, and no database counts as unavailable, because the computer is busy. (The agents do not beat.)

The long database timeout makes a test hang if a refusal waits for a database that is unavailable, or if one counts as
unavailable for too long. The limit on events keeps the whole log, however much a fast computer gets done.
"""


def open_load_room(installation: Installation) -> None:
    """Start the server, and open the room of the load."""
    installation.start_server()
    installation.run(
        "room", "create", ROOM, "--roles", ",".join((*ROLES, HEARTBEAT_ROLE)), "--max-requests", str(REQUESTS_MAX)
    )


def check_file(installation: Installation) -> None:
    """Kill the server once more, and have SQLite check the database file. PostgreSQL checks its own."""
    assert installation.server is not None
    installation.server.kill()
    if not installation.database_arguments:
        with closing(sqlite3.connect(installation.data_dir / "greenroom.db")) as connection:
            assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
            assert [] == connection.execute("PRAGMA foreign_key_check").fetchall()
