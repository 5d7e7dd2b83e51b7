"""Routes the path and method of a request to its endpoint."""

from collections.abc import Mapping
from http import HTTPStatus

from greenroom.server.endpoints import Endpoint
from greenroom.server.response import HttpError

RouteMatch = tuple[Endpoint, Mapping[str, str]]


class Router:
    """A node in the tree of paths. The next segment is a literal word, or the value of a path parameter."""

    def __init__(self) -> None:
        self._literals: dict[str, Router] = {}
        self._parameter: tuple[str, Router] | None = None
        self._endpoints: dict[str, Endpoint] = {}

    def add(self, endpoint: Endpoint) -> None:
        """Add an endpoint under its path, as in `/rooms/{room}`. Call this on the root of the tree."""
        node = self
        for segment in filter(None, endpoint.path.split("/")):
            node = node._child(segment)
        node._endpoints[endpoint.method.value] = endpoint

    def find(self, method: str, path: str) -> RouteMatch:
        """Return the endpoint and the values of its path parameters. Raises HttpError: 404, or 405 with `allow`.

        A literal word takes precedence over a parameter, without backtracking. Empty segments are ignored, so a path
        may end with a slash.
        """
        node, values = self, dict[str, str]()
        for segment in path.split("/"):
            if not segment:
                continue
            child = node._literals.get(segment)
            if child is None:
                if node._parameter is None:
                    raise HttpError(HTTPStatus.NOT_FOUND, "Not Found")
                name, child = node._parameter
                values[name] = segment
            node = child
        endpoint = node._endpoints.get(method)
        if endpoint is not None:
            return endpoint, values
        if not node._endpoints:
            raise HttpError(HTTPStatus.NOT_FOUND, "Not Found")
        allowed = ", ".join(sorted({*node._endpoints, "OPTIONS"}))
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", (("allow", allowed),))

    def _child(self, segment: str) -> "Router":
        if not segment.startswith("{"):
            return self._literals.setdefault(segment, Router())
        name = segment.strip("{}")
        if self._parameter is None:
            self._parameter = (name, Router())
        assert self._parameter[0] == name, f"one path segment has two parameter names: {name} and {self._parameter[0]}"
        return self._parameter[1]
