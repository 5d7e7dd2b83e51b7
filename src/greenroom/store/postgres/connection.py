"""Opens connections to PostgreSQL: parses the URL, and sets the session's name, timeouts and settings."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from greenroom.domain.errors import ConfigurationError
from greenroom.store.postgres.session import Session, Silence

CONNECT_S_MAX: Final = 5
NAME_BYTES_MAX: Final = 63
NOTICE_S: Final = 5
"""Seconds of silence after which either side sends a TCP keepalive probe, up to three times."""

OVERRIDABLE: Final = {
    "keepalives_idle": NOTICE_S,
    "keepalives_interval": NOTICE_S,
    "keepalives_count": 3,
    "tcp_user_timeout": 4 * NOTICE_S * 1000,
}
"""Connection parameters that the URL may override."""

SETTINGS: Final = {
    "idle_session_timeout": "0",
    "jit": "off",
    "synchronous_commit": "on",
    "tcp_keepalives_idle": str(NOTICE_S),
    "tcp_keepalives_interval": str(NOTICE_S),
    "tcp_keepalives_count": "3",
}
# A committed reply must survive a power cut: `off` is turned on; a value that waits for more than the disk stays.
APPLY: Final = """
    SELECT set_config(name, value, false) FROM json_each_text($1::json) AS wanted (name, value)
    WHERE name != 'synchronous_commit' OR current_setting(name) = 'off'
"""
LOOK_FOR_CLIENT: Final = "SET client_connection_check_interval = '1s'"


class Address:
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
        self, name: str, wait_s: float, on_silence: Silence, *, settings: Mapping[str, str] | None = None
    ) -> Session:
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
            **OVERRIDABLE,
            "connect_timeout": connect_s,
            **self._parts,
            "client_encoding": "utf8",
            "application_name": name.encode()[:NAME_BYTES_MAX].decode("utf-8", "ignore"),
            # Of several hosts the writable one, for readers too: they must see what was written.
            "target_session_attrs": "read-write",
        }
        session = Session(psycopg.connect(make_conninfo(**parameters), autocommit=True), wait_s, on_silence)
        try:
            session_settings = {**SETTINGS, **limits, **(settings or {})}
            session.execute(APPLY, (msgspec.json.encode(session_settings).decode(),))
            with suppress(psycopg.Error):  # not every system supports the check
                session.execute(LOOK_FOR_CLIENT)
        except BaseException:
            session.close()
            raise
        return session


def name_of_process(purpose: str) -> str:
    """The application_name of a session, by which an operator finds the process that holds the lock."""
    return f"greenroom {purpose} {os.getpid()}@{socket.gethostname()}"
