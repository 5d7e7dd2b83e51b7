"""Calls about the server itself. Health and readiness need no token, because a probe has none."""

from http import HTTPMethod, HTTPStatus

import msgspec

from greenroom.domain.errors import Unavailable
from greenroom.domain.limits import Limits
from greenroom.server import metrics
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.request import Request
from greenroom.server.response import HttpResponse
from greenroom.service import authorization
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader
from greenroom.wire.replies import Health

calls = EndpointTable()


@calls.custom(HTTPMethod.GET, "/healthz", None, Health)
async def healthz(server: ServerContext, request: Request[None]) -> object:
    """Report whether the server's background loops are healthy; 503 names the late ones."""
    late = server.background.late_loops()
    health = Health(status="late" if late else "ok", late=late)
    status = HTTPStatus.SERVICE_UNAVAILABLE if late else HTTPStatus.OK
    return HttpResponse(status, msgspec.json.encode(health))


@calls.custom(HTTPMethod.GET, "/readyz", None, Health)
async def readyz(server: ServerContext, request: Request[None]) -> object:
    """Report whether the server can take requests: it is not stopping, and its store commits."""
    if server.closing.is_set():
        raise Unavailable("The server is stopping.", "Retry when it runs again.")
    await server.write(lambda context, transaction: None)
    return Health(status="ok")


@calls.query(f"{API_PREFIX}/limits", Limits)
def show_limits(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """Show the durations and limits that this server uses, by name."""
    return context.limits


@calls.custom(HTTPMethod.GET, "/metrics", None, str, media_type="text/plain")
async def show_metrics(server: ServerContext, request: Request[None]) -> object:
    """Return the server's metrics in Prometheus' text format; operator only."""
    authorization.require_operator(request.principal)
    return HttpResponse(HTTPStatus.OK, server.metrics.text(), metrics.CONTENT_TYPE)
