"""Routes the path and method of a request to its operation."""

from typing import Any

from greenroom.server.endpoints import Endpoint

RouteMatch = tuple[Endpoint, dict[str, str]]


class Router:
    """A node in the tree of paths. The next segment is a literal word, or the value of a path parameter."""

    def __init__(self) -> None:
        self._literals: dict[str, Router] = {}
        self._parameter: tuple[str, Router] | None = None
        self._operations: dict[str, Endpoint] = {}

    def add(self, operation: Endpoint) -> None:
        """Add an operation under its path, as in `/rooms/{room}`. Call this on the root of the tree."""
        node = self
        for segment in operation.path.split("/"):
            node = node._child(segment)
        node._operations[operation.method.value] = operation

    def find(self, scope: Any) -> RouteMatch | None:
        """Return the operation of a request and the values of its path parameters; None if there is no such operation.

        A literal word takes precedence over a parameter, without backtracking.
        """
        node, values = self, {}
        for segment in scope["path"].split("/"):
            child = node._literals.get(segment)
            if child is None:
                if node._parameter is None or not segment:
                    return None
                name, child = node._parameter
                values[name] = segment
            node = child
        operation = node._operations.get(scope["method"])
        return None if operation is None else (operation, values)

    def _child(self, segment: str) -> "Router":
        if not segment.startswith("{"):
            return self._literals.setdefault(segment, Router())
        name = segment.strip("{}")
        if self._parameter is None:
            self._parameter = (name, Router())
        assert self._parameter[0] == name, f"one path segment has two parameter names: {name} and {self._parameter[0]}"
        return self._parameter[1]
