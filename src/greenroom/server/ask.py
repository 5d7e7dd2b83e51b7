"""What one call was asked, read and checked. Knows the shape of a call; must not know what is done about it."""

from typing import Any, Generic, TypeVar

import msgspec
from litestar.types import Receive

from greenroom.domain.caller import Caller
from greenroom.domain.reliability import Reliability
from greenroom.server.hosts import Headers

Body = TypeVar("Body")


class Sent(msgspec.Struct, frozen=True):
    """A request as it came. After its whole body, `receive` tells only whether the client left."""

    method: str
    path: str
    headers: Headers
    body: bytes
    receive: Receive

    def header(self, name: bytes) -> str | None:
        """A header by its name in small letters, the first if it is there twice."""
        for known, value in self.headers:
            if known == name:
                return value.decode("latin-1")
        return None


class Ask(msgspec.Struct, Generic[Body], frozen=True):
    """One call. `query` is of its operation's kind; `sent` is for those who need more than its body."""

    caller: Caller
    path: dict[str, str]
    body: Body
    query: Any
    sent: Sent

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

    def limit(self, limits: Reliability) -> int:
        """The size of the page that is asked for."""
        asked: int | None = self.query.limit
        return limits.page_default if asked is None else min(asked, limits.page_max)
