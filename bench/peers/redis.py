"""Runs a Redis server on a free port."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.house import free_port
from bench.peers import place, processes

PATIENCE_S: Final = 10.0
LOOK_S: Final = 0.02
FSYNC_ALWAYS: Final = {"appendonly": "yes", "appendfsync": "always"}


@contextmanager
def redis(folder: Path, name: str, **options: str) -> Iterator[str]:
    """Start a server with default settings except for `options`; its URL."""
    home = folder / name
    home.mkdir()
    port = free_port()  # Redis cannot choose a free port and report it.
    settings = {"port": str(port), "bind": "127.0.0.1", "dir": str(home)} | options
    words = [word for option, value in settings.items() for word in (f"--{option}", value)]
    with processes.server(folder, name, [place.redis_server(), *words]):
        wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"


def wait_for(port: int) -> None:
    """Wait until the port accepts connections; `RuntimeError` after 10 s."""
    gives_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < gives_up_at:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(LOOK_S)
    raise RuntimeError(f"redis-server did not listen within {PATIENCE_S:.0f} s")
