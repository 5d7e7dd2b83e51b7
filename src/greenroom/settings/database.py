"""The URL of a database, as it is given and as it may be shown. Must not know what is kept there."""

import re
from typing import Final

from greenroom.domain.errors import ConfigurationError

SCHEME: Final = re.compile(r"postgres(ql)?://")
HOSTS: Final = re.compile(r"((\[[0-9A-Fa-f:.]+\]|[^\[\]:@,]*)(:[0-9]*)?(,|$))*")
HIDDEN: Final = "(not shown: no URL of PostgreSQL)"
SECRET: Final = re.compile(r"([?&](?:password|sslpassword)=)[^&]*")
EXAMPLE: Final = "postgresql://USER@HOST:5432/DATABASE"


def check_database(url: str, origin: str) -> str:
    """Return the URL. Raises ConfigurationError when it cannot be meant, without repeating it: it may hold a password.

    A sign that should have been written as %XX would make a part of the password look like a host, and an error of the
    driver would tell it. So such a URL does not get that far.
    """
    if not SCHEME.match(url):
        raise ConfigurationError(
            f"The database ({origin}) is no URL of PostgreSQL.",
            f"Write it like {EXAMPLE}, or leave it out to keep SQLite in the data directory.",
        )
    _, hosts = parts_of(url)
    if any(mark.isspace() for mark in url) or not HOSTS.fullmatch(hosts):
        raise ConfigurationError(
            f"The URL of the database ({origin}) cannot be read.",
            f"Write it like {EXAMPLE}; in a password, write @ as %40, : as %3A, / as %2F, % as %25 and a blank as %20.",
        )
    return url


def without_password(url: str) -> str:
    """The URL as people may see it; of what is none, nothing."""
    if not SCHEME.match(url):
        return HIDDEN
    user, _ = parts_of(url)
    scheme, _, rest = url.partition("://")
    shown = rest.removeprefix(f"{user}@") if user is not None else rest
    name = "" if user is None else f"{user.partition(':')[0]}{':***' if ':' in user else ''}@"
    return SECRET.sub(r"\1***", f"{scheme}://{name}{shown}")


def parts_of(url: str) -> tuple[str | None, str]:
    """Who logs in, password included, and the hosts: told apart as PostgreSQL's own library does it."""
    rest = url.partition("://")[2]
    authority = rest.partition("/")[0]
    user, at, tail = authority.partition("@")
    return (user, tail.partition("?")[0]) if at else (None, authority.partition("?")[0])
