"""Reads everything in a store, so that a test can assert that nothing changed."""

from typing import Any

from sqlalchemy import select

from greenroom.store.compiled_sql import Statement
from greenroom.store.store import Store
from greenroom.store.tables import metadata
from greenroom.store.transaction import Reader

ALL_ROWS = {table.name: Statement(select(table)) for table in metadata.sorted_tables}


def read_all_rows(store: Store) -> dict[str, list[Any]]:
    """Every row of every table."""

    def read(reader: Reader) -> dict[str, list[Any]]:
        return {name: sorted(reader.rows(statement), key=repr) for name, statement in ALL_ROWS.items()}

    return store.read(read)
