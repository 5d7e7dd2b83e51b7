"""Resolves the cursor of a list (the id of an item) to the row number after which the next page begins."""

from greenroom.domain.errors import Unusable
from greenroom.store.statement import Statement
from greenroom.store.transaction import Reader


def begin(reader: Reader, place_of: Statement, after: str | None, **where: object) -> int:
    """The row number after which a page begins: that of the item `after`, or 0, which is before the first.

    Raises Unusable for an unknown item: a client that got the first page instead would page without end.
    """
    if after is None:
        return 0
    row = reader.row(place_of, **where)
    if row is None:
        raise Unusable(
            f"This list has no item {after[:80]!r}.",
            "Send in `after` the id of the last item of the previous page, or omit it to get the first page.",
        )
    return int(row[0])
