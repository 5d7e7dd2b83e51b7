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
from greenroom.server.answer import JSON, spelled
from greenroom.server.ask import Ask, Sent
from greenroom.server.doors import Doors
from greenroom.server.idempotency import move
from greenroom.server.queries import NoQuery
from greenroom.service.world import World
from greenroom.store.transaction import Reader, Transaction

Body = TypeVar("Body")
Mutation = Callable[[World, Transaction, Ask[Body]], object | GreenroomError]
Query = Callable[[World, Reader, Ask[None]], object]
Answering = Callable[[Doors, Ask[Any]], Awaitable[object]]

API: Final = "/api/v1"
CONTENT_TYPE: Final = b"content-type"


@dataclass(frozen=True)
class Operation:
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
    keyed: bool
    answer: Answering
    media_type: str = JSON
    streams: bool = False

    def handler(self, server: Doors) -> HTTPRouteHandler:
        """Return the Litestar route of this call."""

        async def handle(request: LitestarRequest[Any, Any, Any]) -> Response[bytes]:
            query = strict.read_query(request.scope["query_string"], self.query)
            body = b"" if self.body is None else await whole_body(request)
            raw_request = Sent(self.method, request.scope["path"], request.scope["headers"], body, request.receive)
            decoded = Ask(request.scope.get("auth"), request.path_params, self.read(raw_request), query, raw_request)
            return response(await self.answer(server, decoded), self.status)

        path = self.path.replace("}", ":str}")
        # Every response has its own status; without this, Litestar would assume 204 for DELETE.
        return HTTPRouteHandler(path, http_method=self.method, name=self.name, status_code=HTTPStatus.OK)(handle)

    def read(self, raw_request: Sent) -> Any:
        """Decode the request's body as the declared type; None for a call without a body."""
        if self.body is None:
            return None
        return strict.read_body(raw_request.body, raw_request.header(CONTENT_TYPE), self.body)


class Operations(list[Operation]):
    """The calls of one resource, in the order in which the documentation lists them."""

    def move(
        self, method: HttpMethod, path: str, body: type[Body], reply: Any, status: int = HTTPStatus.OK
    ) -> Callable[[Mutation[Body]], Mutation[Body]]:
        """Declare a mutation that creates or changes something. With an Idempotency-Key it runs once."""
        return self._declare(method, path, body, reply, status, lambda f: move(f, int(status)), keyed=True)

    def write(
        self, method: HttpMethod, path: str, body: type[Body] | None, reply: Any, status: int = HTTPStatus.OK
    ) -> Callable[[Mutation[Body]], Mutation[Body]]:
        """Declare a mutation that is idempotent without a key."""
        return self._declare(method, path, body, reply, status, writing)

    def read(self, path: str, reply: Any, query: type[msgspec.Struct] = NoQuery) -> Callable[[Query], Query]:
        """Declare a query."""
        return self._declare(HttpMethod.GET, path, None, reply, HTTPStatus.OK, reading, query)

    def mint(self, path: str, reply: Any) -> Callable[[Query], Query]:
        """Declare a query that uses POST, because no cache may store its response (it contains a token)."""
        return self._declare(HttpMethod.POST, path, None, reply, HTTPStatus.OK, reading)

    def call(
        self,
        method: HttpMethod,
        path: str,
        body: type[msgspec.Struct] | None,
        reply: Any,
        query: type[msgspec.Struct] = NoQuery,
        **traits: Any,
    ) -> Callable[[Answering], Answering]:
        """Declare a call with a coroutine of its own. Its result None is answered with 204."""
        return self._declare(method, path, body, reply, HTTPStatus.OK, lambda f: f, query, **traits)

    def _declare(
        self,
        method: HttpMethod,
        path: str,
        body: Any,
        reply: Any,
        status: int,
        to_handler: Callable[[Any], Answering],
        query: type[msgspec.Struct] = NoQuery,
        keyed: bool = False,
        **traits: Any,
    ) -> Callable[[Any], Any]:
        def declare(function: Any) -> Any:
            summary = (function.__doc__ or "").strip().partition("\n")[0]
            self.append(
                Operation(
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


async def whole_body(request: LitestarRequest[Any, Any, Any]) -> bytes:
    """Return the whole body. A client that disconnects while it sends is a 400, not an error of the server."""
    try:
        return await request.body()
    except InternalServerException as error:
        raise HTTPException(status_code=400, detail="The body is incomplete") from error


def writing(mutation: Mutation[Any]) -> Answering:
    async def answer(server: Doors, request: Ask[Any]) -> object:
        return await server.write(lambda world, transaction: mutation(world, transaction, request))

    return answer


def reading(query: Query) -> Answering:
    async def answer(server: Doors, request: Ask[Any]) -> object:
        return await server.read(lambda world, reader: query(world, reader, request))

    return answer


def response(result: object, status: int) -> Response[bytes]:
    """Convert a call's result to a Litestar response. A result that is one already (a stream) stays as it is."""
    if isinstance(result, Response):
        return result
    answer = spelled(result, status)
    headers = dict(answer.headers)
    return Response(answer.body, status_code=answer.status, media_type=answer.media_type, headers=headers)
