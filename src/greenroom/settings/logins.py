"""The tokens that a person stored for servers, one file for each. Must not know whether a token is any good.

They lie beside the user's `config.toml` and not in the data directory: they are the person's, whatever data directory
a command is given. A token is only ever found for the very address that it was stored for.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from greenroom.settings import paths
from greenroom.settings.private_file import read_record, write_record


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A token and the address of the server that it is for."""

    url: str
    token: str


def find(environ: Mapping[str, str], url: str) -> str | None:
    """The token stored for exactly that address."""
    known = read_record(paths.login(environ, url), Login)
    return known.token if known is not None and known.url == url else None


def store(environ: Mapping[str, str], login: Login) -> Path:
    """Keep a token, readable for its owner alone; where. Raises OSError."""
    path = paths.login(environ, login.url)
    write_record(path, login)
    return path


def forget(environ: Mapping[str, str], url: str) -> bool:
    """Remove the token stored for that address; False when there is none. Raises OSError."""
    if find(environ, url) is None:
        return False
    paths.login(environ, url).unlink(missing_ok=True)
    return True
