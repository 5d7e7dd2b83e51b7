"""Takes out of a server's address what is secret: user and password, query and fragment.

Greenroom sends none of them, so the address that it uses, shows and names folders by has none.
"""

import re
from typing import Final

AUTHORITY: Final = re.compile(r"(?P<scheme>[^/?#]*://)?(?P<authority>[^/?#]*)(?P<path>[^?#]*)")
NOT_SHOWN: Final = "The address"


def without_secrets(url: str) -> str:
    """The address with its scheme, host, port and path only, and without a slash at its end."""
    parts = AUTHORITY.match(url)
    assert parts is not None, "every part may be empty"
    host = parts["authority"].rpartition("@")[2]
    return f"{parts['scheme'] or ''}{host}{parts['path']}".rstrip("/")


def describe_invalid(url: str) -> str:
    """An address that cannot be parsed, for an error text: a part of it may be a password, wherever the `@` is."""
    return NOT_SHOWN if "@" in url else repr(url)
