"""Speaks HTTP on one connection: uvicorn's protocol, with limits on what a client may send before it is authenticated.

The head of a request is its first line and its headers. These are refused, and their connection is closed:

- a head, or the trailers of a body in chunks, of more than HEAD_BYTES_MAX (431);
- a head, or trailers, not complete HEAD_TIMEOUT_S after the connection was opened, or after the first byte (408);
- a request target that is not a path, whose host would not be the one that was checked (400);
- what is not HTTP (400).

Trailers are discarded: they are no headers. Limit: a body may come as slowly as its sender likes, once it is admitted.

uvicorn writes the head and the body of a response separately, and each write is a system call and a packet of its own.
For many responses that costs more than all the other work, so `BufferedTransport` joins them to one write.
"""

import asyncio
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from greenroom.domain.limits import HEAD_BYTES_MAX, HEAD_TIMEOUT_S
from greenroom.server.response import HttpError, encode_failure

INVALID_REQUEST: Final = HttpError(HTTPStatus.BAD_REQUEST, "This is not a valid HTTP request.")
TARGET_REFUSED: Final = HttpError(HTTPStatus.BAD_REQUEST, "The request target is not a path that starts with `/`.")
HEAD_TOO_LARGE: Final = HttpError(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The request line and headers have more than {HEAD_BYTES_MAX} bytes."
)
HEAD_TOO_SLOW: Final = HttpError(
    HTTPStatus.REQUEST_TIMEOUT, f"The request line and headers were not complete after {HEAD_TIMEOUT_S:g} s."
)


class BufferedTransport:
    """A transport that collects what one step of the event loop writes, and writes it at once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport: Final = transport
        self._loop: Final = loop
        self._chunks: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Collect `data`. It is written after the callbacks that are ready now, and before later input is handled."""
        if not self._chunks:
            self._loop.call_soon(self._flush)
        self._chunks.append(data)

    def close(self) -> None:
        """Write what was collected, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        data = b"".join(self._chunks)
        self._chunks.clear()
        if data and not self._transport.is_closing():  # The client may have disconnected meanwhile.
            self._transport.write(data)


class HttpProtocol(HttpToolsProtocol):
    """One connection. The parser calls the `on_` methods while `data_received` feeds it."""

    _unparsed_bytes = 0
    """Bytes received since a head, a part of a body, or the end of a request was last recognised."""
    _head_timer: asyncio.TimerHandle | None = None
    _error = INVALID_REQUEST
    _has_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(BufferedTransport(transport, self.loop))  # type: ignore[arg-type]
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._has_refused:
            return
        cycle: RequestResponseCycle | None = self.cycle
        body_bytes = 0 if cycle is None else len(cycle.body)
        self._unparsed_bytes += len(data)
        HttpToolsProtocol.data_received(self, data)
        if self.cycle is not cycle or self._has_progressed(body_bytes):
            self._unparsed_bytes = 0
            if self._head_timer is not None:
                self._stop_head_timer()
        elif self._unparsed_bytes > HEAD_BYTES_MAX:
            self._refuse(HEAD_TOO_LARGE)
        elif self._head_timer is None:
            self._start_head_timer()

    def on_headers_complete(self) -> None:
        if self._unparsed_bytes > HEAD_BYTES_MAX and self._count_head_bytes() > HEAD_BYTES_MAX:
            self._stop_parsing(HEAD_TOO_LARGE)
        if not self.url.startswith(b"/"):
            self._stop_parsing(TARGET_REFUSED)
        HttpToolsProtocol.on_headers_complete(self)
        self.headers = []  # What follows are trailers; `scope` has the list of the headers.

    def _is_in_head(self) -> bool:
        """Whether the head of the first or next request has begun, or not even that."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.scope is not self.scope

    def _has_progressed(self, body_bytes: int) -> bool:
        """Whether the last request has more than `body_bytes` of its body now, or is complete, and no other has begun.

        The app takes nothing from the body meanwhile: it runs between two calls of `data_received`.
        """
        return not self._is_in_head() and (not self.cycle.more_body or len(self.cycle.body) > body_bytes)

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refused, or what `_stop_parsing` did."""
        self._refuse(self._error)

    def _count_head_bytes(self) -> int:
        """Count the bytes of names, values and target. Less than the head has, by its spaces and line ends."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _stop_parsing(self, error: HttpError) -> None:
        """Have the parser fail, so that `error` becomes the answer."""
        self._error = error
        raise httptools.HttpParserError(error.detail)

    def _refuse(self, error: HttpError) -> None:
        """Answer with an error, unless another answer may be on its way, and close the connection."""
        cycle: RequestResponseCycle | None = self.cycle
        is_answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if not is_answering and not self.pipeline:
            response = encode_failure(error)
            headers = f"content-type: {response.media_type}\r\ncontent-length: {len(response.body)}\r\n"
            head = STATUS_LINE[response.status] + headers.encode() + b"connection: close\r\n\r\n"
            self.transport.write(head + response.body)
        self._has_refused = True
        self.transport.close()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_head_timeout)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_head_timeout(self) -> None:
        if self._unparsed_bytes and self._is_in_head():
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.transport.close()
