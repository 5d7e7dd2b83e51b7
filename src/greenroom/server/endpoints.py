"""The table of API calls: path, bodies, statuses, handler. Router and OpenAPI document are built from it.

A call is answered by a mutation, a query, or a coroutine of its own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from http import HTTPMethod, HTTPStatus
from typing import Any, Final, TypeVar

import msgspec

from greenroom.domain.errors import GreenroomError
from greenroom.server.context import ServerContext
from greenroom.server.idempotency_header import idempotent_post
from greenroom.server.request import NoQuery, RawRequest, Request, decode_body
from greenroom.server.response import JSON
from greenroom.service.context import ServiceContext
from greenroom.store.transaction import Reader, Transaction

Body = TypeVar("Body")
Mutation = Callable[[ServiceContext, Transaction, Request[Body]], object | GreenroomError]
Query = Callable[[ServiceContext, Reader, Request[None]], object]
Handler = Callable[[ServerContext, Request[Any]], Awaitable[object]]

API_PREFIX: Final = "/api/v1"


@dataclass(frozen=True)
class Endpoint:
    """One call of the API.

    `reply` is the type of the response's body, None where there is none. A call that `accepts_key` may have an
    Idempotency-Key. A call that `streams` answers with a list or, if the client accepts it, with server-sent events.
    """

    method: HTTPMethod
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

    def decode_body(self, raw_request: RawRequest) -> Any:
        """Decode the request's body as the declared type; None for a call without a body."""
        return None if self.body is None else decode_body(raw_request, self._decoder)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self.body)


class EndpointTable(list[Endpoint]):
    """The calls of one resource, in the order in which the documentation lists them."""

    def idempotent_post(
        self, method: HTTPMethod, path: str, body: type[Body], reply: Any, status: int = HTTPStatus.OK
    ) -> Callable[[Mutation[Body]], Mutation[Body]]:
        """Declare a mutation that creates or changes something. With an Idempotency-Key it runs once."""
        return self._declare(
            method, path, body, reply, status, lambda f: idempotent_post(f, int(status)), accepts_key=True
        )

    def mutation(
        self, method: HTTPMethod, path: str, body: type[Body] | None, reply: Any, status: int = HTTPStatus.OK
    ) -> Callable[[Mutation[Body]], Mutation[Body]]:
        """Declare a mutation that is idempotent without a key."""
        return self._declare(method, path, body, reply, status, handle_mutation)

    def query(self, path: str, reply: Any, query: type[msgspec.Struct] = NoQuery) -> Callable[[Query], Query]:
        """Declare a query."""
        return self._declare(HTTPMethod.GET, path, None, reply, HTTPStatus.OK, handle_query, query)

    def query_post(self, path: str, reply: Any) -> Callable[[Query], Query]:
        """Declare a query that uses POST, because no cache may store its response (it contains a token)."""
        return self._declare(HTTPMethod.POST, path, None, reply, HTTPStatus.OK, handle_query)

    def custom(
        self,
        method: HTTPMethod,
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
        method: HTTPMethod,
        path: str,
        body: Any,
        reply: Any,
        status: int,
        to_handler: Callable[[Any], Handler],
        query: type[msgspec.Struct] = NoQuery,
        accepts_key: bool = False,
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
                    accepts_key,
                    to_handler(function),
                    **traits,
                )
            )
            return function

        return declare


def handle_mutation(mutation: Mutation[Any]) -> Handler:
    async def answer(server: ServerContext, request: Request[Any]) -> object:
        return await server.write(lambda context, transaction: mutation(context, transaction, request))

    return answer


def handle_query(query: Query) -> Handler:
    async def answer(server: ServerContext, request: Request[Any]) -> object:
        return await server.read(lambda context, reader: query(context, reader, request))

    return answer
