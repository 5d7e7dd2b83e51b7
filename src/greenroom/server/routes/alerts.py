"""The call about alerts: what needs a user."""

from greenroom.server.endpoints import API_PREFIX, EndpointTable
from greenroom.server.request import Request
from greenroom.service import alerts
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader
from greenroom.wire.replies import AlertView

calls = EndpointTable()


@calls.query(f"{API_PREFIX}/alerts", list[AlertView])
def list_alerts(context: ServiceContext, reader: Reader, request: Request[None]) -> object:
    """List the open alerts (what needs a user now), oldest first."""
    return alerts.list_alerts(context, reader, request.principal)
