"""The API as one ASGI application: each request is admitted, routed, read, decoded, handled, encoded and sent, once."""

from functools import lru_cache
from http import HTTPMethod, HTTPStatus
from typing import Any, Final

from greenroom.server import openapi
from greenroom.server.allowed_hosts import AllowedHosts
from greenroom.server.auth import PUBLIC_PATHS, authenticate
from greenroom.server.context import ServerContext
from greenroom.server.endpoints import Endpoint
from greenroom.server.request import NoQuery, RawRequest, Receive, Request, Scope, Send, decode_query
from greenroom.server.request_body import IncomingBody
from greenroom.server.request_headers import read_headers
from greenroom.server.response import HttpError, HttpResponse, Stream, encode_failure, encode_result
from greenroom.server.router import Router
from greenroom.server.routes import OPERATIONS

ROUTES_CACHED_MAX: Final = 16_384
"""Paths whose routes are kept. A heartbeat's path is the same each time."""


class App:
    """Answers every request. Errors become problem documents; of an unexpected one nothing is sent but that."""

    def __init__(self, server: ServerContext, hosts: AllowedHosts) -> None:
        self._server: Final = server
        self._hosts: Final = hosts
        self._tokens: Final = server.service.tokens
        self._limits: Final = server.service.limits
        router = Router()
        for endpoint in (*OPERATIONS, describe(openapi.build_document(OPERATIONS))):
            router.add(endpoint)
        self._find: Final = lru_cache(ROUTES_CACHED_MAX)(router.find)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = IncomingBody(scope, receive)
        response: HttpResponse | Stream
        try:
            response = await self._answer(scope, body)
        except Exception as error:
            response = encode_failure(error)
        if response.status >= HTTPStatus.BAD_REQUEST:
            await body.drain(self._limits.request_timeout_s)
        await response.send(body.receive, send)

    async def _answer(self, scope: Scope, body: IncomingBody) -> HttpResponse | Stream:
        path, headers = scope["path"], read_headers(scope["headers"])
        self._hosts.check(headers)
        principal: Any = None if path in PUBLIC_PATHS else authenticate(headers, self._tokens)
        try:
            endpoint, values = self._find(scope["method"], path)
        except HttpError as error:
            if scope["method"] == "OPTIONS" and error.status == HTTPStatus.METHOD_NOT_ALLOWED:
                return HttpResponse(HTTPStatus.NO_CONTENT, b"", headers=error.headers)
            raise
        query = decode_query(scope["query_string"], endpoint.query)
        content = b"" if endpoint.body is None else await body.read(headers, self._limits.body_bytes_max)
        raw = RawRequest(endpoint.method, path, headers, content, body.receive)
        request = Request(principal, values, endpoint.decode_body(raw), query, raw)
        return encode_result(await endpoint.handle(self._server, request), endpoint.status)


def describe(document: bytes) -> Endpoint:
    """The endpoint of the OpenAPI document, which is not a part of that document."""

    async def handle(server: ServerContext, request: Request[None]) -> HttpResponse:
        return HttpResponse(HTTPStatus.OK, document)

    return Endpoint(HTTPMethod.GET, "/openapi.json", "openapi", "", None, NoQuery, None, HTTPStatus.OK, False, handle)
