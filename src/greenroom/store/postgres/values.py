"""Values on their way to PostgreSQL and back: everything goes as text. Must not know statements or the line."""

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
"""How a value is read, by the number of its type. There are no others: see greenroom.store.schema."""


def spelled_all(many: Sequence[Sequence[Any]]) -> list[list[bytes | None]]:
    """Sets of arguments as text."""
    return [[spelled(value) for value in arguments] for arguments in many]


def spelled(value: object) -> bytes | None:
    """A value as text; what type it has is said by the statement. Raises Unusable for what PostgreSQL cannot hold."""
    if value is None:
        return None
    if not isinstance(value, str):
        return repr(value).encode()
    if "\0" in value:
        # libpq would take it for the end, and store or look for the beginning alone.
        raise Unusable("A text has the character U+0000 in it, which cannot be stored.", "Remove it and send it again.")
    return value.encode()


def rows_of(result: pq.abc.PGresult) -> list[tuple[Any, ...]]:
    """The rows of a result, read back."""
    get, reads = result.get_value, [(column, READ[result.ftype(column)]) for column in range(result.nfields)]
    # A list in between is quicker than a generator, and this is done for each value that is ever read.
    return [
        tuple([None if (value := get(number, column)) is None else read(value) for column, read in reads])
        for number in range(result.ntuples)
    ]
