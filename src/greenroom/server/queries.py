"""The query parameters of the calls, with their bounds."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from greenroom.domain.task import STATES
from greenroom.wire.requests import INTEGER_MAX, Seconds

Cursor = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Id = Annotated[str, Meta(min_length=1, max_length=128)]
TaskStatus = Literal[STATES]  # type: ignore[valid-type]


class NoQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call without query parameters."""


class EventsQuery(NoQuery, frozen=True):
    """`after` is the number of the last event that the client has."""

    after: Cursor = 0
    limit: Limit | None = None


class ListQuery(NoQuery, frozen=True):
    """`after` is the id of the last item of the previous page."""

    after: Id | None = None
    limit: Limit | None = None


class TasksQuery(ListQuery, frozen=True):
    status: TaskStatus | None = None


class AssignmentsQuery(NoQuery, frozen=True):
    """`after` is the version that the client has; the answer waits up to `wait_s` seconds for another version."""

    after: Cursor | None = None
    wait_s: Seconds = 0.0
