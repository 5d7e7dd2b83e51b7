"""Classifies PostgreSQL's errors as outages or invalid statements, and gives guidance for errors at the start.

Limits: guidance is chosen by words of PostgreSQL's English messages; in another language it is the general one.
"""

from typing import Final

import psycopg

CLASSES: Final = frozenset(
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
PERMISSION: Final = "42501"

WAYS_OUT: Final = (
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

REACH_IT: Final = (
    "Start PostgreSQL, or correct the URL: --database, GREENROOM_DATABASE, or `database` in the user's config.toml."
)


def is_outage(error: BaseException) -> bool:
    """Whether the database, its disk or the connection failed, as opposed to an invalid statement."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate[:2] in CLASSES or error.sqlstate == PERMISSION


def way_out_of(error: BaseException) -> str:
    """The guidance for an error at the start."""
    message = str(error)
    return next((guidance for words, guidance in WAYS_OUT if words in message), REACH_IT)


def told(error: BaseException) -> str:
    """The error on one line."""
    return " ".join(str(error).split()).rstrip(".")
