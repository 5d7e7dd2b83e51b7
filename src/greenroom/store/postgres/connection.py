"""Opens connections to PostgreSQL, and classifies its errors as outages or invalid statements.

A connection gets the parts of the URL, and the session's name, timeouts and settings.
Limits: the advice for an error at the start is chosen by words of PostgreSQL's English messages; in another language
it is the general one, and the server waits.
"""

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

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


class StartAdvice(NamedTuple):
    """What to do about an error at the start, and whether it may pass by itself, so that a server waits for it."""

    guidance: str
    is_temporary: bool = False


ADVICE: Final = (
    (
        r"password authentication failed|no password supplied",
        StartAdvice(
            "Set the right password in ~/.pgpass, PGPASSWORD or GREENROOM_DATABASE; other users can read a command"
            " line."
        ),
    ),
    (
        r"database \".*\" does not exist",
        StartAdvice("Create it: createdb --encoding UTF8 --owner USER DATABASE."),
    ),
    (
        r"role \".*\" does not exist|not permitted to log in|local user with ID",
        StartAdvice("Name a user that exists in PostgreSQL, or create it: createuser USER."),
    ),
    (
        r"pg_hba\.conf|authentication failed",
        StartAdvice("Allow this user and host in PostgreSQL's pg_hba.conf, or use another user."),
    ),
    (
        r"permission denied",
        StartAdvice(
            "Let the user create tables: GRANT CREATE, USAGE ON SCHEMA public TO USER; or make the user the owner."
        ),
    ),
    (
        r"does not support SSL|certificate",
        StartAdvice("Correct `sslmode` and the certificates in the URL, or what PostgreSQL offers."),
    ),
    (
        r"starting up|shutting down|recovery mode|not yet accepting",
        StartAdvice("Wait until PostgreSQL accepts connections.", is_temporary=True),
    ),
    (
        r"read-only|session is not",
        StartAdvice("Name the primary: a standby cannot be written to.", is_temporary=True),
    ),
    (
        r"too many|remaining connection",
        StartAdvice("Raise max_connections there, or lower GREENROOM_READERS_MAX here.", is_temporary=True),
    ),
    (r"No space left", StartAdvice("Free some space on PostgreSQL's disk.", is_temporary=True)),
)
"""Patterns of PostgreSQL's English messages, and the advice for each. The first match is used."""

DEFAULT_ADVICE: Final = StartAdvice(
    "Start PostgreSQL, or correct the URL: --database, GREENROOM_DATABASE, or `database` in the user's config.toml.",
    is_temporary=True,
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


def advice_for(error: BaseException) -> StartAdvice:
    """The advice for an error at the start."""
    message = str(error)
    return next((advice for pattern, advice in ADVICE if re.search(pattern, message)), DEFAULT_ADVICE)


def format_error(error: BaseException) -> str:
    """The error on one line."""
    return " ".join(str(error).split()).rstrip(".")
