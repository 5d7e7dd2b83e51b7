"""A Redis of its own on a port of its own. Knows its configuration file; must not know who uses it."""

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
    """The URL of a server with its default configuration but for the options."""
    home = folder / name
    home.mkdir()
    port = free_port()  # Redis cannot choose one for itself and tell.
    settings = {"port": str(port), "bind": "127.0.0.1", "dir": str(home)} | options
    words = [word for option, value in settings.items() for word in (f"--{option}", value)]
    with processes.server(folder, name, [place.redis_server(), *words]):
        wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"


def wait_for(port: int) -> None:
    """Until somebody listens."""
    gives_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < gives_up_at:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(LOOK_S)
    raise RuntimeError(f"redis-server did not listen within {PATIENCE_S:.0f} s")
