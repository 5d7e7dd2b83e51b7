"""Calls about the server itself. Health and readiness need no token, because a probe has none."""

from http import HTTPStatus

import msgspec
from litestar import HttpMethod, Response

from greenroom.domain.errors import Unavailable
from greenroom.domain.reliability import Reliability
from greenroom.server import metrics
from greenroom.server.answer import JSON
from greenroom.server.ask import Ask
from greenroom.server.doors import Doors
from greenroom.server.operations import API, Operations
from greenroom.service import access
from greenroom.service.world import World
from greenroom.store.transaction import Reader
from greenroom.wire.replies import Health

calls = Operations()


@calls.call(HttpMethod.GET, "/healthz", None, Health)
async def healthz(server: Doors, request: Ask[None]) -> object:
    """Report whether the server's background loops are healthy; 503 names the late ones."""
    late = server.healing.late()
    health = Health(status="late" if late else "ok", late=late)
    status = HTTPStatus.SERVICE_UNAVAILABLE if late else HTTPStatus.OK
    return Response(msgspec.json.encode(health), status_code=status, media_type=JSON)


@calls.call(HttpMethod.GET, "/readyz", None, Health)
async def readyz(server: Doors, request: Ask[None]) -> object:
    """Report whether the server can take requests: it is not stopping, and its store commits."""
    if server.closing.is_set():
        raise Unavailable("The server is stopping.", "Retry when it runs again.")
    await server.write(lambda world, transaction: None)
    return Health(status="ok")


@calls.read(f"{API}/limits", Reliability)
def show_limits(world: World, reader: Reader, request: Ask[None]) -> object:
    """Show the durations and limits that this server uses, by name."""
    return world.limits


@calls.call(HttpMethod.GET, "/metrics", None, str, media_type="text/plain")
async def show_metrics(server: Doors, request: Ask[None]) -> object:
    """Return the server's metrics in Prometheus' text format; operator only."""
    access.operator_only(request.caller)
    return Response(server.metrics.text(), media_type=metrics.CONTENT_TYPE)
