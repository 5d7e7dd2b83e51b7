"""The tokens that the user stored for servers (`greenroom login`), one file for each.

They are beside the user's `config.toml` and not in the data directory: they belong to the user, whatever data directory
a command gets. A token is only found for exactly the address for which it was stored.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from greenroom.settings import paths
from greenroom.settings.files import read_record, write_record


class StoredToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and the address of its server."""

    url: str
    token: str


def find_stored_token(environ: Mapping[str, str], url: str) -> str | None:
    """The token stored for exactly this address; None if there is none."""
    path = paths.login(environ, url)
    login = None if path is None else read_record(path, StoredToken)
    return login.token if login is not None and login.url == url else None


def store_token(environ: Mapping[str, str], login: StoredToken) -> Path:
    """Write a token to a file that only its owner can read; the file's path. Raises OSError.

    Raises ConfigurationError when no home is known.
    """
    path = paths.login(environ, login.url)
    if path is None:
        raise paths.no_home_error("Set GREENROOM_TOKEN instead, or HOME.")
    write_record(path, login)
    return path


def remove_stored_token(environ: Mapping[str, str], url: str) -> bool:
    """Remove the token stored for this address; False when there is none. Raises OSError."""
    path = paths.login(environ, url)
    if path is None or find_stored_token(environ, url) is None:
        return False
    path.unlink(missing_ok=True)
    return True
