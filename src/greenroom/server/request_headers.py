"""The headers of a request, looked up by name."""

from collections.abc import Sequence
from typing import Final


class RequestHeaders:
    """The headers of one request. Names are in lower case, values as they were received.

    A request may repeat a header. Where it matters whether it does, use `all`.
    """

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._pairs: Final = pairs
        self._by_name: Final = dict(pairs)
        self._has_repeats: Final = len(self._by_name) < len(pairs)

    def all(self, name: bytes) -> Sequence[bytes]:
        """Return all values of a header, in the order in which they were received."""
        if self._has_repeats:
            return [value for header, value in self._pairs if header == name]
        value = self._by_name.get(name)
        return () if value is None else (value,)

    def get(self, name: bytes) -> bytes | None:
        """Return the value of a header: the first if it is repeated, None if it is missing."""
        if self._has_repeats:
            return next(iter(self.all(name)), None)
        return self._by_name.get(name)

    def __contains__(self, name: bytes) -> bool:
        return name in self._by_name
