"""Runs a Redis server on a free port."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.peers import installation, processes
from bench.server_process import free_port

TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.02
FSYNC_ALWAYS: Final = {"appendonly": "yes", "appendfsync": "always"}


@contextmanager
def redis(folder: Path, name: str, **options: str) -> Iterator[str]:
    """Start a server with default settings except for `options`; its URL."""
    home = folder / name
    home.mkdir()
    port = free_port()  # Redis cannot choose a free port and report it.
    settings = {"port": str(port), "bind": "127.0.0.1", "dir": str(home)} | options
    words = [word for option, value in settings.items() for word in (f"--{option}", value)]
    with processes.start_server(folder, name, [installation.find_redis_server(), *words]):
        wait_for_port(port)
        yield f"redis://127.0.0.1:{port}/0"


def wait_for_port(port: int) -> None:
    """Wait until the port accepts connections; `RuntimeError` after 10 s."""
    gives_up_at = time.monotonic() + TIMEOUT_S
    while time.monotonic() < gives_up_at:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"redis-server did not listen within {TIMEOUT_S:.0f} s")
