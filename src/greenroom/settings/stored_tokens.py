"""The tokens that the user stored for servers (`greenroom login`), one file for each.

They are beside the user's `config.toml` and not in the data directory: they belong to the user, whatever data directory
a command gets. A token is only found for exactly the address for which it was stored.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from greenroom.settings import paths
from greenroom.settings.files import read_record, write_record
from greenroom.settings.server_address import without_secrets


class StoredToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and the address of its server."""

    url: str
    token: str


def find_stored_token(environ: Mapping[str, str], url: str) -> str | None:
    """The token stored for exactly this address; None if there is none."""
    return next((login.token for _, login in list_logins(environ, url)), None)


def list_logins(environ: Mapping[str, str], url: str) -> Iterator[tuple[Path, StoredToken]]:
    """The files with a token for this address: the present one, and earlier ones with a password in it."""
    present = paths.login(environ, url)
    if present is None:
        return
    former = sorted(path for path in present.parent.glob(f"*_{present.name.partition('_')[2]}") if path != present)
    for path in (present, *former):
        login = read_record(path, StoredToken)
        if login is not None and without_secrets(login.url) == without_secrets(url):
            yield path, login


def store_token(environ: Mapping[str, str], login: StoredToken) -> Path:
    """Write a token to a file that only its owner can read; the file's path. Raises OSError.

    Raises ConfigurationError when no home is known.
    """
    path = paths.login(environ, login.url)
    if path is None:
        raise paths.no_home_error("Set GREENROOM_TOKEN instead, or HOME.")
    former = [found for found, _ in list_logins(environ, login.url) if found != path]
    write_record(path, login)
    for found in former:
        found.unlink(missing_ok=True)
    return path


def remove_stored_token(environ: Mapping[str, str], url: str) -> bool:
    """Remove the token stored for this address; False when there is none. Raises OSError."""
    found = [path for path, _ in list_logins(environ, url)]
    for path in found:
        path.unlink(missing_ok=True)
    return bool(found)
