"""Opens connections to PostgreSQL, and classifies its errors as outages or invalid statements.

A connection gets the parts of the URL, and the session's name, timeouts and settings.
Limits: the guidance for an error at the start is chosen by words of PostgreSQL's English messages; in another language
it is the general one.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from greenroom.domain.errors import ConfigurationError
from greenroom.store.postgres.pipeline import OnSilence, PostgresSession

CONNECT_S_MAX: Final = 5
NAME_BYTES_MAX: Final = 63
KEEPALIVE_S: Final = 5
"""Seconds of silence after which either side sends a TCP keepalive probe, up to three times."""

CONNECTION_DEFAULTS: Final = {
    "keepalives_idle": KEEPALIVE_S,
    "keepalives_interval": KEEPALIVE_S,
    "keepalives_count": 3,
    "tcp_user_timeout": 4 * KEEPALIVE_S * 1000,
}
"""Connection parameters that the URL may override."""

SESSION_SETTINGS: Final = {
    "idle_session_timeout": "0",
    "jit": "off",
    "synchronous_commit": "on",
    "tcp_keepalives_idle": str(KEEPALIVE_S),
    "tcp_keepalives_interval": str(KEEPALIVE_S),
    "tcp_keepalives_count": "3",
}
# A committed reply must survive a power cut: `off` is turned on; a value that waits for more than the disk stays.
APPLY_SETTINGS: Final = """
    SELECT set_config(name, value, false) FROM json_each_text($1::json) AS wanted (name, value)
    WHERE name != 'synchronous_commit' OR current_setting(name) = 'off'
"""
CHECK_CLIENT: Final = "SET client_connection_check_interval = '1s'"

OUTAGE_CLASSES: Final = frozenset(
    {
        "08",  # connection exception
        "25",  # invalid transaction state: ended by the idle timeout, or the server has become a standby
        "40",  # transaction rollback: deadlock, serialization failure
        "53",  # insufficient resources: disk, memory, connections
        "55",  # object in use: a lock was not granted in time
        "57",  # operator intervention: shutdown, cancel, crash, starting up, statement timeout
        "58",  # system error: input and output
        "XX",  # internal error, damaged data
    }
)
INSUFFICIENT_PRIVILEGE: Final = "42501"

GUIDANCE: Final = (
    (
        "password",
        "Set the right password in ~/.pgpass, PGPASSWORD or GREENROOM_DATABASE; other users can read a command line.",
    ),
    ("database", "Create it: createdb --encoding UTF8 --owner USER DATABASE."),
    ("role", "Name a user that exists in PostgreSQL, or create it: createuser USER."),
    ("pg_hba.conf", "Allow this user and host in PostgreSQL's pg_hba.conf, or use another user."),
    (
        "permission denied",
        "Let the user create tables: GRANT CREATE, USAGE ON SCHEMA public TO USER; or make the user the owner.",
    ),
    ("read-only", "Name the primary: a standby cannot be written to."),
    ("session is not", "Name the primary: a standby cannot be written to."),
    ("too many", "Raise max_connections there, or lower GREENROOM_READERS_MAX here."),
    ("remaining connection", "Raise max_connections there, or lower GREENROOM_READERS_MAX here."),
)
"""Words in PostgreSQL's English messages, and the guidance for each. The first match is used."""

DEFAULT_GUIDANCE: Final = (
    "Start PostgreSQL, or correct the URL: --database, GREENROOM_DATABASE, or `database` in the user's config.toml."
)


class DatabaseAddress:
    """The address of a database. Its text (`str`) never contains a password."""

    def __init__(self, url: str) -> None:
        try:
            self._parts: Mapping[str, Any] = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # The driver's message would quote the URL with its password.
            raise ConfigurationError(
                "The URL of the database is not valid.",
                "Write it as postgresql://USER@HOST:5432/DATABASE; in a password, @ is %40, / is %2F and % is %25.",
            ) from None

    def __str__(self) -> str:
        parts = self._parts
        host = parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST") or "this machine"
        port = f":{parts['port']}" if parts.get("port") else ""
        name = parts.get("dbname") or os.environ.get("PGDATABASE") or parts.get("user") or "named like the user"
        return f"database {name} on {host}{port}"

    def connect(
        self, name: str, wait_s: float, on_silence: OnSilence, *, settings: Mapping[str, str] | None = None
    ) -> PostgresSession:
        """Open a session in autocommit mode outside of BEGIN. `name` is its application_name in pg_stat_activity.

        `wait_s` (seconds) sets PostgreSQL's timeouts: 0.9 of it for a statement, 0.8 of it for a lock, 3 times it for
        an idle transaction. When PostgreSQL does not answer for `wait_s`, the session closes and calls `on_silence`.
        Raises psycopg.Error.
        """
        limits = {
            "statement_timeout": f"{wait_s * 900:.0f}",
            "lock_timeout": f"{wait_s * 800:.0f}",
            "idle_in_transaction_session_timeout": f"{wait_s * 3000:.0f}",
        }
        connect_s = max(2, min(CONNECT_S_MAX, round(wait_s)))  # libpq accepts no less than 2
        parameters = {
            **CONNECTION_DEFAULTS,
            "connect_timeout": connect_s,
            **self._parts,
            "client_encoding": "utf8",
            "application_name": name.encode()[:NAME_BYTES_MAX].decode("utf-8", "ignore"),
            # Of several hosts the writable one, for readers too: they must see what was written.
            "target_session_attrs": "read-write",
        }
        session = PostgresSession(psycopg.connect(make_conninfo(**parameters), autocommit=True), wait_s, on_silence)
        try:
            session_settings = {**SESSION_SETTINGS, **limits, **(settings or {})}
            session.execute(APPLY_SETTINGS, (msgspec.json.encode(session_settings).decode(),))
            with suppress(psycopg.Error):  # not every system supports the check
                session.execute(CHECK_CLIENT)
        except BaseException:
            session.close()
            raise
        return session


def application_name(purpose: str) -> str:
    """The application_name of a session, by which an operator finds the process that holds the lock."""
    return f"greenroom {purpose} {os.getpid()}@{socket.gethostname()}"


def is_outage(error: BaseException) -> bool:
    """Whether the database, its disk or the connection failed, as opposed to an invalid statement."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate[:2] in OUTAGE_CLASSES or error.sqlstate == INSUFFICIENT_PRIVILEGE


def guidance_for(error: BaseException) -> str:
    """The guidance for an error at the start."""
    message = str(error)
    return next((guidance for words, guidance in GUIDANCE if words in message), DEFAULT_GUIDANCE)


def format_error(error: BaseException) -> str:
    """The error on one line."""
    return " ".join(str(error).split()).rstrip(".")
