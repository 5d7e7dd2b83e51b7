"""Which errors mean that PostgreSQL failed, and what helps at the start. Must not know what was asked of it."""

from typing import Final

import psycopg

CLASSES: Final = frozenset(
    {
        "08",  # the connection
        "25",  # the transaction: ended for idling, or on a server that has become a standby
        "40",  # rolled back by PostgreSQL: deadlock, serialization
        "53",  # no disk, no memory, no more connections
        "55",  # an object in use: a lock that was not given in time
        "57",  # an operator: shut down, cancelled, a crash, starting up, a statement that took too long
        "58",  # the system: input and output
        "XX",  # PostgreSQL itself: an internal error, damaged data
    }
)
PERMISSION: Final = "42501"

WAYS_OUT: Final = (
    (
        "password",
        "Give the right one in ~/.pgpass or PGPASSWORD, where others do not see it, or in GREENROOM_DATABASE.",
    ),
    ("database", "Create it: createdb --encoding UTF8 --owner USER DATABASE."),
    ("role", "Name a user that PostgreSQL knows, or create it: createuser USER."),
    ("pg_hba.conf", "Allow this user and host in the server's pg_hba.conf, or use another one."),
    (
        "permission denied",
        "Let the user create tables: GRANT CREATE, USAGE ON SCHEMA public TO USER, or make it the owner.",
    ),
    ("read-only", "Name the primary: a standby cannot be written to."),
    ("session is not", "Name the primary: a standby cannot be written to."),
    ("too many", "Raise max_connections there, or lower GREENROOM_READERS_MAX here."),
    ("remaining connection", "Raise max_connections there, or lower GREENROOM_READERS_MAX here."),
)
"""What PostgreSQL says, as far as it speaks English, and what helps. The first that fits is told."""

REACH_IT: Final = (
    "Start PostgreSQL, or correct the URL: --database, GREENROOM_DATABASE, or `database` in the user's config."
)


def is_outage(error: BaseException) -> bool:
    """Tell whether the database, its disk or the line to it failed, as against a statement that was wrong."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate[:2] in CLASSES or error.sqlstate == PERMISSION


def way_out_of(error: BaseException) -> str:
    """What to do about an error at the start."""
    said = str(error)
    return next((way for words, way in WAYS_OUT if words in said), REACH_IT)


def told(error: BaseException) -> str:
    """The error on one line."""
    return " ".join(str(error).split()).rstrip(".")
