"""Takes the advisory lock on a database, so that one server at a time writes. The session that writes holds it.

The lock ends with its session, however that ends. So a session without the lock has no open transaction, and nothing
has to be checked before each write.
"""

import threading
from collections.abc import Collection
from typing import Final, NamedTuple

import psycopg

from greenroom.domain.errors import AlreadyRunning
from greenroom.store.postgres.pipeline import PostgresSession

LOCK_KEY: Final = int.from_bytes(b"greenroo")
"""The number of Greenroom's advisory lock. Each database has its own advisory locks."""

TRY_LOCK: Final = "SELECT pg_try_advisory_lock($1::bigint)::int"
CURRENT_BACKEND: Final = (
    "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint"
    " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
FIND_HOLDER: Final = (
    "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint, application_name, host(client_addr),"
    " to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    " FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::bigint << 32 | objid::bigint) = $1::bigint AND objsubid = 1 AND granted"
)
TERMINATE: Final = (
    "SELECT pg_terminate_backend(pid)::int FROM pg_stat_activity"
    " WHERE pid = $1::bigint AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2::bigint"
)
POLL_INTERVAL_S: Final = 0.05


class Backend(NamedTuple):
    """A PostgreSQL backend: its pid and start in microseconds, since a pid alone is used again some day."""

    pid: int
    started_us: int | None


class LockHolder(NamedTuple):
    """The session that holds the lock. `name`, `host` and `since` are as pg_stat_activity has them."""

    backend: Backend
    name: str
    host: str | None
    since: str | None

    def __str__(self) -> str:
        since = f", since {self.since} UTC" if self.since else ""
        return f"{self.name or 'a session'} (backend {self.backend.pid} from {self.host or 'its own machine'}{since})"


def current_backend(session: PostgresSession) -> Backend:
    """The backend of this session."""
    session.execute(CURRENT_BACKEND)
    [(pid, started_us)] = session.fetchall()
    return Backend(pid, started_us)


def acquire_lock(session: PostgresSession, own_backends: Collection[Backend], wait_s: float, place: str) -> None:
    """Take the lock for this session. `lost` are former sessions of this process that may still hold it.

    A stopped server's session may last for a moment, so another server's lock is waited for, up to `wait_s` seconds;
    then AlreadyRunning is raised. A former session of this process is terminated, since it may be half open and could
    still commit. If that takes longer than `wait_s`, psycopg.OperationalError is raised: an outage, so a retry may
    succeed. `place` names the database in the error.
    """
    holder = None
    for _ in range(max(1, round(wait_s / POLL_INTERVAL_S))):
        session.execute(TRY_LOCK, (LOCK_KEY,))
        if session.fetchall() == [(1,)]:
            return
        holder = find_holder(session)
        if holder is not None and holder.backend in own_backends:
            session.execute(TERMINATE, holder.backend)
        threading.Event().wait(POLL_INTERVAL_S)
    if holder is not None and holder.backend in own_backends:
        raise psycopg.OperationalError("this server's lost session has not ended yet and still holds the lock")
    raise AlreadyRunning(
        f"Another server uses {place}: {holder or 'it has just ended'}.",
        "Use that server, or stop it and start this one again; or start this one on another database with --database.",
    )


def find_holder(session: PostgresSession) -> LockHolder | None:
    """The session that holds the lock on this session's database now; None if it is free."""
    session.execute(FIND_HOLDER, (LOCK_KEY,))
    for pid, started_us, name, host, since in session.fetchall():
        return LockHolder(Backend(pid, started_us), name, host, since)
    return None
