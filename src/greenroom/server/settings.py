"""The settings of a server process, from its command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.domain.errors import ConfigurationError

HOST: Final = "127.0.0.1"
PORT: Final = 6464
PORT_MAX: Final = 65535


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server listens, and where it stores its data: at the URL `database`, or else in `data_dir` itself.

    With port 0 the system chooses a free one. `allowed_hosts` are further names under which clients reach this server,
    `name` or `name:port`. `follow` is a file descriptor: its end of file means that the process that started this
    server is gone, and the server stops. With `requires_store` it does not start with an empty store.
    """

    data_dir: Path
    database: str | None = None
    host: str = HOST
    port: int = PORT
    allowed_hosts: tuple[str, ...] = ()
    parent_descriptor: int | None = None
    requires_store: bool = False


def parse_settings(flags: Mapping[str, Any], data_dir: Path, database: str | None) -> ServerSettings:
    """Read the parsed command line. Raises ConfigurationError for an invalid address."""
    host, port = parse_address(flags.get("listen") or f"{HOST}:{PORT}")
    return ServerSettings(
        data_dir=data_dir,
        database=database,
        host=host,
        port=port,
        allowed_hosts=tuple(flags.get("allow_host") or ()),
        parent_descriptor=flags.get("follow"),
        requires_store=bool(flags.get("require_store")),
    )


def parse_address(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT`, `[::1]:PORT` or a port alone. Raises ConfigurationError for any other text."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        raise ConfigurationError(f"{text!r} is not an address to listen on.", f"Write it like {HOST}:{PORT}.")
    return host.removeprefix("[").removesuffix("]") or HOST, int(port)
