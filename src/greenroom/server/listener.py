"""The server's listening socket, the configuration of uvicorn, and how the server starts and stops."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from greenroom.domain.errors import ConfigurationError, Unavailable
from greenroom.domain.limits import Limits
from greenroom.server.http_protocol import HttpProtocol
from greenroom.server.request import AsgiApp
from greenroom.server.wakeups import Flag

BACKLOG: Final = 2048
GRACEFUL_SHUTDOWN_S: Final = 5
"""Seconds that requests in flight may take once the server stops; streams and long polls end at once."""


class HttpServer(uvicorn.Server):
    """uvicorn's server, except that stopping ends streams and long polls, and that `run` handles the signals."""

    def __init__(self, app: AsgiApp, limits: Limits, closing: Flag, on_ready: Callable[[], None]) -> None:
        super().__init__(uvicorn_config(app, limits))
        self._closing = closing
        self._on_ready = on_ready

    def stop(self) -> None:
        """Ask the server to stop. A second call makes it stop without waiting for open connections."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again at its end, which would kill the process instead of exiting with 0.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn waits for every connection, and a stream would not end by itself.
        self._closing.set()
        await super().shutdown(sockets)


def uvicorn_config(app: AsgiApp, limits: Limits) -> uvicorn.Config:
    """Return uvicorn's configuration: one process, no lifespan, websockets, access log or trust in proxies' headers."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # A connection stays open from heartbeat to heartbeat, or each heartbeat would have to open a new one.
        timeout_keep_alive=int(2 * max(limits.heartbeat_interval_s, limits.daemon_heartbeat_interval_s)) + 1,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )


def listen(host: str, port: int) -> socket.socket:
    """Bind the address and listen.

    Raises ConfigurationError (`cannot_listen`) when that fails, and Unavailable while this machine does not have the
    address: a network interface may come up later than the server.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError, TypeError) as error:  # a name that cannot be encoded is a TypeError
        listener.close()
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "this is no name of a host"
        if getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
            raise Unavailable(
                f"Cannot listen on {host}:{port}: this machine does not have that address now.",
                "Start again when its network is up, or choose another address with --listen HOST:PORT.",
                "cannot_listen",
            ) from error
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {reason}.",
            "Stop what listens there, or choose another address with --listen HOST:PORT (port 0: any free one).",
            "cannot_listen",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL at which the socket can be reached from this machine."""
    host, port = listener.getsockname()[:2]
    reachable_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{reachable_host}]' if ':' in reachable_host else reachable_host}:{port}"


@contextmanager
def watch_descriptor(descriptor: int | None, on_end: Callable[[], None]) -> Iterator[None]:
    """Call `on_end` once the descriptor is at end of file, which means that the process at its other end is gone."""
    if descriptor is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def check_descriptor() -> None:
        try:
            has_ended = not os.read(descriptor, 4096)
        except BlockingIOError:
            return
        except OSError:
            has_ended = True
        if has_ended:
            loop.remove_reader(descriptor)
            on_end()

    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, check_descriptor)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
