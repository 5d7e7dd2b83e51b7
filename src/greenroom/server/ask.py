"""A request as handlers get it: authenticated, decoded and validated."""

from typing import Any, Generic, TypeVar

import msgspec
from litestar.types import Receive

from greenroom.domain.limits import Limits
from greenroom.domain.principal import Principal
from greenroom.server.hosts import Headers

Body = TypeVar("Body")


class RawRequest(msgspec.Struct, frozen=True):
    """A raw request. Its body was read completely, so `receive` reports only that the client disconnected."""

    method: str
    path: str
    headers: Headers
    body: bytes
    receive: Receive

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name: the first if it is repeated, None if it is missing."""
        for header, value in self.headers:
            if header == name:
                return value.decode("latin-1")
        return None


class Request(msgspec.Struct, Generic[Body], frozen=True):
    """One call. `query` has the query type of its operation; `raw` is the raw request behind `body`."""

    principal: Principal
    path: dict[str, str]
    body: Body
    query: Any
    raw: RawRequest

    @property
    def room(self) -> str:
        return self.path["room"]

    @property
    def role(self) -> str:
        return self.path["role"]

    @property
    def task(self) -> str:
        return self.path["task"]

    @property
    def machine(self) -> str:
        return self.path["machine"]

    def page_size(self, limits: Limits) -> int:
        """Return the page size: the query's `limit`, up to `page_max`, or `page_default` without one."""
        requested: int | None = self.query.limit
        return limits.page_default if requested is None else min(requested, limits.page_max)
