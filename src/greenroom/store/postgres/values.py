"""Converts values to PostgreSQL's text format and back."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from psycopg import pq

from greenroom.domain.errors import Unusable

READ: Final[dict[int, Callable[[bytes], Any]]] = {
    20: int,  # bigint
    21: int,  # smallint
    23: int,  # integer
    19: bytes.decode,  # name
    25: bytes.decode,  # text
    1043: bytes.decode,  # varchar
    701: float,  # double precision
}
"""The converter for each type OID. The store uses no other types: see greenroom.store.schema."""


def spelled_all(many: Sequence[Sequence[Any]]) -> list[list[bytes | None]]:
    """Convert sets of arguments to text."""
    return [[spelled(value) for value in arguments] for arguments in many]


def spelled(value: object) -> bytes | None:
    """Convert a value to text; the statement determines its type. Raises Unusable for what PostgreSQL cannot store."""
    if value is None:
        return None
    if not isinstance(value, str):
        return repr(value).encode()
    if "\0" in value:
        # libpq would take it as the end of the text, and store or compare only the part before it.
        raise Unusable(
            "A text contains the character U+0000, which cannot be stored.",
            "Remove that character and send the request again.",
        )
    return value.encode()


def rows_of(result: pq.abc.PGresult) -> list[tuple[Any, ...]]:
    """The rows of a result, as Python values."""
    get, converters = result.get_value, [(column, READ[result.ftype(column)]) for column in range(result.nfields)]
    # A list is faster here than a generator, and this runs for each value that is read.
    return [
        tuple([None if (value := get(number, column)) is None else convert(value) for column, convert in converters])
        for number in range(result.ntuples)
    ]
