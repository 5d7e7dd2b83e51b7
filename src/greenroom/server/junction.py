"""Routes the path and method of a request to its operation."""

from typing import Any

from greenroom.server.operations import Operation

Found = tuple[Operation, dict[str, str]]


class Junction:
    """A node in the tree of paths. The next segment is a literal word, or the value of a path parameter."""

    def __init__(self) -> None:
        self._words: dict[str, Junction] = {}
        self._named: tuple[str, Junction] | None = None
        self._operations: dict[str, Operation] = {}

    def lay(self, operation: Operation) -> None:
        """Add an operation under its path, as in `/rooms/{room}`. Call this on the root of the tree."""
        place = self
        for segment in operation.path.split("/"):
            place = place._beyond(segment)
        place._operations[operation.method.value] = operation

    def find(self, scope: Any) -> Found | None:
        """Return the operation of a request and the values of its path parameters; None if there is no such operation.

        A literal word takes precedence over a parameter, without backtracking.
        """
        place, values = self, {}
        for segment in scope["path"].split("/"):
            beyond = place._words.get(segment)
            if beyond is None:
                if place._named is None or not segment:
                    return None
                name, beyond = place._named
                values[name] = segment
            place = beyond
        operation = place._operations.get(scope["method"])
        return None if operation is None else (operation, values)

    def _beyond(self, segment: str) -> "Junction":
        if not segment.startswith("{"):
            return self._words.setdefault(segment, Junction())
        name = segment.strip("{}")
        if self._named is None:
            self._named = (name, Junction())
        assert self._named[0] == name, f"one path segment has two parameter names: {name} and {self._named[0]}"
        return self._named[1]
