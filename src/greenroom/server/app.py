"""Builds the ASGI app: the routes behind authentication, and two fast paths in front of them."""

from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.types import ASGIApp

from greenroom.server import openapi, problems
from greenroom.server.answer import JSON
from greenroom.server.context import ServerContext
from greenroom.server.drain_body import DrainBody
from greenroom.server.express import CallFastPath
from greenroom.server.gate import AuthMiddleware
from greenroom.server.hosts import AllowedHosts
from greenroom.server.routes import OPERATIONS
from greenroom.server.shell import HeartbeatFastPath


def build_reference_app(server: ServerContext, hosts: AllowedHosts) -> ASGIApp:
    """Return the whole API without the two fast paths. It answers every request as the fast paths would."""
    document = openapi.build_document(OPERATIONS)

    @get("/openapi.json", name="openapi", sync_to_thread=False)
    def described(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(document, media_type=JSON)

    litestar = Litestar(
        [*(operation.litestar_route(server) for operation in OPERATIONS), described],
        exception_handlers={Exception: problems.handle_exception},
        request_max_body_size=server.service.limits.body_bytes_max,
        openapi_config=None,
        logging_config=None,
    )
    return DrainBody(AuthMiddleware(litestar, hosts, server.service.tokens), server.service.limits)


def build_app(server: ServerContext, hosts: AllowedHosts) -> ASGIApp:
    """Return the whole API as it is served."""
    return HeartbeatFastPath(CallFastPath(build_reference_app(server, hosts), server, hosts, OPERATIONS), server, hosts)
