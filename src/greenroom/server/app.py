"""Builds the ASGI app: the routes behind authentication, and two fast paths in front of them."""

from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.types import ASGIApp

from greenroom.server import openapi, problems
from greenroom.server.answer import JSON
from greenroom.server.doors import Doors
from greenroom.server.express import Express
from greenroom.server.gate import Gate
from greenroom.server.hosts import Hosts
from greenroom.server.routes import OPERATIONS
from greenroom.server.shell import Shell
from greenroom.server.unread import HearOut


def reference(server: Doors, hosts: Hosts) -> ASGIApp:
    """Return the whole API without the two fast paths. It answers every request as the fast paths would."""
    document = openapi.document(OPERATIONS)

    @get("/openapi.json", name="openapi", sync_to_thread=False)
    def described(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(document, media_type=JSON)

    litestar = Litestar(
        [*(operation.handler(server) for operation in OPERATIONS), described],
        exception_handlers={Exception: problems.answer},
        request_max_body_size=server.world.limits.body_bytes_max,
        openapi_config=None,
        logging_config=None,
    )
    return HearOut(Gate(litestar, hosts, server.world.keys), server.world.limits)


def app(server: Doors, hosts: Hosts) -> ASGIApp:
    """Return the whole API as it is served."""
    return Shell(Express(reference(server, hosts), server, hosts, OPERATIONS), server, hosts)
