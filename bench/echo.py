"""A minimal ASGI app that sends a request's body back. `python -m bench.echo`

It runs on uvicorn with exactly the server's configuration, so that the difference is what Greenroom adds.
"""

import socket
import sys
from typing import Any

import uvicorn

from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.server.listener import uvicorn_config


async def echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class AnnouncingServer(uvicorn.Server):
    """Prints its address in the same format as the Greenroom server."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        print(f"listening on http://127.0.0.1:{sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)


def main() -> None:
    """Serve until a signal stops the process."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    AnnouncingServer(uvicorn_config(echo, DEFAULT_LIMITS)).run(sockets=[listener])


if __name__ == "__main__":
    main()
