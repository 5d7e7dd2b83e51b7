"""Finds the operation that a path leads to. Knows segments and their names; must not know what is done there."""

from typing import Any

from greenroom.server.operations import Operation

Found = tuple[Operation, dict[str, str]]


class Junction:
    """A place in the tree of paths: from here one segment further, by its word or as the value of a name."""

    def __init__(self) -> None:
        self._words: dict[str, Junction] = {}
        self._named: tuple[str, Junction] | None = None
        self._operations: dict[str, Operation] = {}

    def lay(self, operation: Operation) -> None:
        """Take in the path of an operation, as in `/rooms/{room}`; asked of the tree's root."""
        place = self
        for segment in operation.path.split("/"):
            place = place._beyond(segment)
        place._operations[operation.method.value] = operation

    def find(self, scope: Any) -> Found | None:
        """The operation of a request and the values in its path. A word goes before a name, without coming back."""
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
        assert self._named[0] == name, f"{name} and {self._named[0]} are names for one place in a path"
        return self._named[1]
