"""The lock on a database: one server at a time, held by the very session that writes. Must not know what is written.

It ends with its session, whatever ends that. So no session without the lock has a transaction under way, and nothing
has to be looked at before each write.
"""

import threading
from collections.abc import Collection
from typing import Final, NamedTuple

import psycopg

from greenroom.domain.errors import AlreadyRunning
from greenroom.store.postgres.session import Session

KEY: Final = int.from_bytes(b"greenroo")
"""Advisory locks are numbered in each database on its own; this one is ours in all of them."""

TAKE: Final = "SELECT pg_try_advisory_lock($1::bigint)::int"
OURSELVES: Final = (
    "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint"
    " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)
HOLDER: Final = (
    "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint, application_name, host(client_addr),"
    " to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
    " FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (classid::bigint << 32 | objid::bigint) = $1::bigint AND objsubid = 1 AND granted"
)
END: Final = (
    "SELECT pg_terminate_backend(pid)::int FROM pg_stat_activity"
    " WHERE pid = $1::bigint AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2::bigint"
)
LOOK_EVERY_S: Final = 0.05


class Backend(NamedTuple):
    """A session as PostgreSQL counts them. A number alone would come back some day."""

    pid: int
    started_us: int | None


class Holder(NamedTuple):
    """Who has the lock, and what is known of them."""

    backend: Backend
    name: str
    host: str | None
    since: str | None

    def __str__(self) -> str:
        since = f", since {self.since} UTC" if self.since else ""
        return f"{self.name or 'a session'} (backend {self.backend.pid} from {self.host or 'its own machine'}{since})"


def ourselves(session: Session) -> Backend:
    """How PostgreSQL counts this session."""
    session.execute(OURSELVES)
    [(pid, started_us)] = session.fetchall()
    return Backend(pid, started_us)


def take_lock(session: Session, lost: Collection[Backend], wait_s: float, place: str) -> None:
    """Take the lock for this session. `lost` are the sessions that we had, and that may have got it.

    A dying server's session may live on for a moment, so somebody else is waited for, for `wait_s` seconds: then
    AlreadyRunning. What we lost ourselves is ended: it may be a half-open line, and could still commit. When that takes
    longer it is an outage, and may be tried again.
    """
    holder = None
    for _ in range(max(1, round(wait_s / LOOK_EVERY_S))):
        session.execute(TAKE, (KEY,))
        if session.fetchall() == [(1,)]:
            return
        holder = holder_of(session)
        if holder is not None and holder.backend in lost:
            session.execute(END, holder.backend)
        threading.Event().wait(LOOK_EVERY_S)
    if holder is not None and holder.backend in lost:
        raise psycopg.OperationalError("the session that was lost has not ended yet, and still has the lock")
    raise AlreadyRunning(
        f"Another server uses {place}: {holder or 'one that has just gone'}.",
        "Use that one, or stop it and start this one again; or give this one a database of its own with --database.",
    )


def holder_of(session: Session) -> Holder | None:
    """Who holds the lock on this session's database now."""
    session.execute(HOLDER, (KEY,))
    for pid, started_us, name, host, since in session.fetchall():
        return Holder(Backend(pid, started_us), name, host, since)
    return None
