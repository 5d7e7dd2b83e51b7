"""Where a page of a list begins. Knows cursors, which are ids; must not know what is listed."""

from greenroom.domain.errors import Unusable
from greenroom.store.statement import Statement
from greenroom.store.transaction import Reader


def begin(reader: Reader, place_of: Statement, after: str | None, **where: object) -> int:
    """The place after which a page begins: that of the item `after`, or 0, which is before the first.

    Raises Unusable for an item that is not there: from the beginning, whoever pages would never come to an end.
    """
    if after is None:
        return 0
    row = reader.row(place_of, **where)
    if row is None:
        raise Unusable(
            f"There is no item {after[:80]!r} in this list to go on after.",
            "Send the id of the last item of the page before, or leave `after` out to begin anew.",
        )
    return int(row[0])
