"""The table of API calls: path, bodies, statuses, handler. The routes and the OpenAPI document are built from it.

A call is answered by a mutation, a query, or a coroutine of its own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from litestar import HttpMethod, Response
from litestar import Request as LitestarRequest
from litestar.exceptions import HTTPException, InternalServerException
from litestar.handlers import HTTPRouteHandler

from greenroom.domain.errors import GreenroomError
from greenroom.server import strict
from greenroom.server.answer import JSON, encode_result
from greenroom.server.ask import RawRequest, Request
from greenroom.server.context import ServerContext
from greenroom.server.idempotency import idempotent_post
from greenroom.server.queries import NoQuery
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader, Transaction

Body = TypeVar("Body")
Mutation = Callable[[ServiceContext, Transaction, Request[Body]], object | GreenroomError]
Query = Callable[[ServiceContext, Reader, Request[None]], object]
Handler = Callable[[ServerContext, Request[Any]], Awaitable[object]]

API_PREFIX: Final = "/api/v1"
CONTENT_TYPE: Final = b"content-type"


@dataclass(frozen=True)
class Endpoint:
    """One call of the API.

    `reply` is the type of the response's body, None where there is none. A `keyed` call accepts an Idempotency-Key. A
    call that `streams` answers with a list or, if the client accepts it, with server-sent events.
    """

    method: HttpMethod
    path: str
    name: str
    summary: str
    body: Any
    query: type[msgspec.Struct]
    reply: Any
    status: int
    accepts_key: bool
    handle: Handler
    media_type: str = JSON
    streams: bool = False

    def litestar_route(self, server: ServerContext) -> HTTPRouteHandler:
        """Return the Litestar route of this call."""

        async def handle(request: LitestarRequest[Any, Any, Any]) -> Response[bytes]:
            query = strict.decode_query(request.scope["query_string"], self.query)
            body = b"" if self.body is None else await read_body(request)
            raw_request = RawRequest(
                self.method, request.scope["path"], request.scope["headers"], body, request.receive
            )
            decoded = Request(
                request.scope.get("auth"), request.path_params, self.decode_body(raw_request), query, raw_request
            )
            return to_litestar(await self.handle(server, decoded), self.status)

        path = self.path.replace("}", ":str}")
        # Every response has its own status; without this, Litestar would assume 204 for DELETE.
        return HTTPRouteHandler(path, http_method=self.method, name=self.name, status_code=HTTPStatus.OK)(handle)

    def decode_body(self, raw_request: RawRequest) -> Any:
        """Decode the request's body as the declared type; None for a call without a body."""
        if self.body is None:
            return None
        return strict.decode_body(raw_request.body, raw_request.header(CONTENT_TYPE), self.body)


class EndpointTable(list[Endpoint]):
    """The calls of one resource, in the order in which the documentation lists them."""

    def idempotent_post(
        self, method: HttpMethod, path: str, body: type[Body], reply: Any, status: int = HTTPStatus.OK
    ) -> Callable[[Mutation[Body]], Mutation[Body]]:
        """Declare a mutation that creates or changes something. With an Idempotency-Key it runs once."""
        return self._declare(method, path, body, reply, status, lambda f: idempotent_post(f, int(status)), keyed=True)

    def mutation(
        self, method: HttpMethod, path: str, body: type[Body] | None, reply: Any, status: int = HTTPStatus.OK
    ) -> Callable[[Mutation[Body]], Mutation[Body]]:
        """Declare a mutation that is idempotent without a key."""
        return self._declare(method, path, body, reply, status, handle_mutation)

    def query(self, path: str, reply: Any, query: type[msgspec.Struct] = NoQuery) -> Callable[[Query], Query]:
        """Declare a query."""
        return self._declare(HttpMethod.GET, path, None, reply, HTTPStatus.OK, handle_query, query)

    def query_post(self, path: str, reply: Any) -> Callable[[Query], Query]:
        """Declare a query that uses POST, because no cache may store its response (it contains a token)."""
        return self._declare(HttpMethod.POST, path, None, reply, HTTPStatus.OK, handle_query)

    def custom(
        self,
        method: HttpMethod,
        path: str,
        body: type[msgspec.Struct] | None,
        reply: Any,
        query: type[msgspec.Struct] = NoQuery,
        **traits: Any,
    ) -> Callable[[Handler], Handler]:
        """Declare a call with a coroutine of its own. Its result None is answered with 204."""
        return self._declare(method, path, body, reply, HTTPStatus.OK, lambda f: f, query, **traits)

    def _declare(
        self,
        method: HttpMethod,
        path: str,
        body: Any,
        reply: Any,
        status: int,
        to_handler: Callable[[Any], Handler],
        query: type[msgspec.Struct] = NoQuery,
        keyed: bool = False,
        **traits: Any,
    ) -> Callable[[Any], Any]:
        def declare(function: Any) -> Any:
            summary = (function.__doc__ or "").strip().partition("\n")[0]
            self.append(
                Endpoint(
                    method,
                    path,
                    function.__name__,
                    summary,
                    body,
                    query,
                    reply,
                    status,
                    keyed,
                    to_handler(function),
                    **traits,
                )
            )
            return function

        return declare


async def read_body(request: LitestarRequest[Any, Any, Any]) -> bytes:
    """Return the whole body. A client that disconnects while it sends is a 400, not an error of the server."""
    try:
        return await request.body()
    except InternalServerException as error:
        raise HTTPException(status_code=400, detail="The body is incomplete") from error


def handle_mutation(mutation: Mutation[Any]) -> Handler:
    async def answer(server: ServerContext, request: Request[Any]) -> object:
        return await server.write(lambda context, transaction: mutation(context, transaction, request))

    return answer


def handle_query(query: Query) -> Handler:
    async def answer(server: ServerContext, request: Request[Any]) -> object:
        return await server.read(lambda context, reader: query(context, reader, request))

    return answer


def to_litestar(result: object, status: int) -> Response[bytes]:
    """Convert a call's result to a Litestar response. A result that is one already (a stream) stays as it is."""
    if isinstance(result, Response):
        return result
    answer = encode_result(result, status)
    headers = dict(answer.headers)
    return Response(answer.body, status_code=answer.status, media_type=answer.media_type, headers=headers)
