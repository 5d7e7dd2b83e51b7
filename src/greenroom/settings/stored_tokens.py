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
    login = read_record(paths.login(environ, url), StoredToken)
    return login.token if login is not None and login.url == url else None


def store_token(environ: Mapping[str, str], login: StoredToken) -> Path:
    """Write a token to a file that only its owner can read; the file's path. Raises OSError."""
    path = paths.login(environ, login.url)
    write_record(path, login)
    return path


def remove_stored_token(environ: Mapping[str, str], url: str) -> bool:
    """Remove the token stored for this address; False when there is none. Raises OSError."""
    if find_stored_token(environ, url) is None:
        return False
    paths.login(environ, url).unlink(missing_ok=True)
    return True
