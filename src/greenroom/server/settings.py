"""What a server process is told from outside: values only. Must not know where they were found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.domain.errors import ConfigurationError

HOST: Final = "127.0.0.1"
PORT: Final = 6464
PORT_MAX: Final = 65535


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen and where to remember: at the URL `database`, or else in the data directory itself.

    Port 0 lets the system choose one. `allowed_hosts` are further names under which people reach this server, `name` or
    `name:port`. `follow` is a file descriptor whose end of file means that whoever started us is gone.
    """

    data_dir: Path
    database: str | None = None
    host: str = HOST
    port: int = PORT
    allowed_hosts: tuple[str, ...] = ()
    follow: int | None = None


def read_settings(flags: Mapping[str, Any], data_dir: Path, database: str | None) -> ServerSettings:
    """Read what the command line says. Raises ConfigurationError for what cannot be meant."""
    host, port = read_address(flags.get("listen") or f"{HOST}:{PORT}")
    return ServerSettings(
        data_dir=data_dir,
        database=database,
        host=host,
        port=port,
        allowed_hosts=tuple(flags.get("allow_host") or ()),
        follow=flags.get("follow"),
    )


def read_address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, `[::1]:PORT` or a port alone."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        raise ConfigurationError(f"{text!r} is no address to listen on.", f"Write it like {HOST}:{PORT}.")
    return host.removeprefix("[").removesuffix("]") or HOST, int(port)
