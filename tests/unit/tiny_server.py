"""A small HTTP server on a real socket that answers from a table of functions and records the requests."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from greenroom.client.http_transport import Response
from tests.waiting import PATIENCE_S

AnswerFunction = Callable[["TinyServer", Any], Response | None]
"""Answers a request's body. None closes the connection without a response."""


class TinyServer(ThreadingHTTPServer):
    """Answers by `METHOD last-part-of-path`; `seen` holds the requests in order, each as (key, body)."""

    daemon_threads = True

    def __init__(self, answers: dict[str, AnswerFunction]) -> None:
        super().__init__(("127.0.0.1", 0), TinyHandler)
        self.answers = answers
        self.requests: list[tuple[str, Any]] = []
        self.connections = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def request_keys(self) -> list[str]:
        return [key for key, _ in self.requests]


class TinyHandler(BaseHTTPRequestHandler):
    server: TinyServer
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE_S

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        key = f"{self.command} {self.path.partition('?')[0].rpartition('/')[2]}"
        body = msgspec.json.decode(raw) if raw else None
        self.server.requests.append((key, body))
        response = self.server.answers[key](self.server, body)
        if response is None:
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_any  # noqa: N815 - `http.server` finds them by these names

    def log_message(self, format: str, *arguments: Any) -> None:
        return


@contextlib.contextmanager
def run_tiny_server(answers: dict[str, AnswerFunction]) -> Iterator[TinyServer]:
    """Run a server for the time of the `with` block."""
    server = TinyServer(answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)


@contextlib.contextmanager
def accept_connections(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections one after another and pass each to `talk`; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        handle(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(PATIENCE_S)
