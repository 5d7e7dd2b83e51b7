"""Times bare SQLite commits of one row on this disk: the floor under everything durable."""

import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

COMMITS: Final = 200
PRAGMAS: Final = ("journal_mode = WAL", "synchronous = FULL")


def time_commits() -> list[float]:
    """Seconds of each of 200 commits of one row, by SQLite alone with the journal settings of the store."""
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder,
        closing(sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)) as connection,
    ):
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE floor (id INTEGER PRIMARY KEY, text TEXT)")
        return [time_commit(connection) for _ in range(COMMITS)]


def time_commit(connection: sqlite3.Connection) -> float:
    began_at = time.perf_counter()
    connection.execute("INSERT INTO floor (text) VALUES ('a row of no great length')")
    return time.perf_counter() - began_at
