"""Checks the URL of a database, and hides its password."""

import re
from typing import Final

from greenroom.domain.errors import ConfigurationError

SCHEME: Final = re.compile(r"postgres(ql)?://")
HOSTS: Final = re.compile(r"((\[[0-9A-Fa-f:.]+\]|[^\[\]:@,]*)(:[0-9]*)?(,|$))*")
HIDDEN: Final = "(not shown: not a PostgreSQL URL)"
SECRET: Final = re.compile(r"([?&](?:password|sslpassword)=)[^&]*")
EXAMPLE: Final = "postgresql://USER@HOST:5432/DATABASE"


def check_database_url(url: str, origin: str) -> str:
    """Return the URL. Raises ConfigurationError when it is invalid, without repeating it: it may contain a password.

    With a character that is not written as %XX, a part of the password could be read as a host, and an error of the
    driver would show it. So such a URL is rejected here.
    """
    if not SCHEME.match(url):
        raise ConfigurationError(
            f"The database ({origin}) is not a PostgreSQL URL.",
            f"Write it like {EXAMPLE}, or leave it out to use SQLite in the data directory.",
        )
    _, hosts = split_authority(url)
    if not is_utf8(url) or any(mark.isspace() for mark in url) or not HOSTS.fullmatch(hosts):
        raise ConfigurationError(
            f"The URL of the database ({origin}) cannot be parsed.",
            f"Write it like {EXAMPLE}; in a password, write @ as %40, : as %3A, / as %2F, % as %25 and a space as %20.",
        )
    return url


def is_utf8(text: str) -> bool:
    """Whether a text can be sent as UTF-8: an argument or a variable may hold other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def hide_password(url: str) -> str:
    """The URL without passwords, for output; a fixed text for what is not a PostgreSQL URL."""
    if not SCHEME.match(url):
        return HIDDEN
    user, _ = split_authority(url)
    scheme, _, rest = url.partition("://")
    shown = rest.removeprefix(f"{user}@") if user is not None else rest
    name = "" if user is None else f"{user.partition(':')[0]}{':***' if ':' in user else ''}@"
    return SECRET.sub(r"\1***", f"{scheme}://{name}{shown}")


def split_authority(url: str) -> tuple[str | None, str]:
    """The user, with the password, and the hosts: split as PostgreSQL's own library does it."""
    rest = url.partition("://")[2]
    authority = rest.partition("/")[0]
    user, at, tail = authority.partition("@")
    return (user, tail.partition("?")[0]) if at else (None, authority.partition("?")[0])
