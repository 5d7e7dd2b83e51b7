"""What one call was asked, read and checked. Knows the shape of a call; must not know what is done about it."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from litestar import Request

from greenroom.domain.caller import Caller
from greenroom.domain.reliability import Reliability

Body = TypeVar("Body")


@dataclass(frozen=True, slots=True)
class Ask(Generic[Body]):
    """One call. `query` is of its operation's kind; `request` is for those who must know whether the client left."""

    caller: Caller
    path: dict[str, str]
    body: Body
    query: Any
    request: Request[Any, Any, Any]

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
