"""Reads everything in a store, so that a test can assert that nothing changed."""

from typing import Any

from sqlalchemy import select

from greenroom.store.statement import Statement
from greenroom.store.store import Store
from greenroom.store.tables import metadata
from greenroom.store.transaction import Reader

EVERY_ROW = {table.name: Statement(select(table)) for table in metadata.sorted_tables}


def whole(store: Store) -> dict[str, list[Any]]:
    """Every row of every table."""

    def read(reader: Reader) -> dict[str, list[Any]]:
        return {name: sorted(reader.rows(statement), key=repr) for name, statement in EVERY_ROW.items()}

    return store.read(read)
