"""Caches rows and the last event numbers for the writer, from batch to batch.

Only this process writes, so a cached row stays valid until the writer writes to its table: the first such statement
discards the table's rows. A rollback discards all rows, since some may have been read inside the undone mutation.

Limits: at most WRITER_CACHED_RESULTS_MAX results and WRITER_CACHED_CHARACTERS_MAX characters for each table, then the
table's cache is cleared; at most WRITER_CACHED_STREAMS_MAX streams. Writes that bypass the server (an UPDATE
by hand) are not seen.
"""

from collections.abc import Hashable
from typing import Any

from greenroom.domain.limits import (
    WRITER_CACHED_CHARACTERS_MAX,
    WRITER_CACHED_RESULTS_MAX,
    WRITER_CACHED_STREAMS_MAX,
)

Row = tuple[Any, ...]


class ReadCache:
    """The rows of cached statements, and the last `pos` and `seq` numbers, as far as they were read or assigned."""

    def __init__(self) -> None:
        self.last_pos: int | None = None
        self.last_seqs: dict[str, int] = {}
        self._tables: dict[str, dict[Hashable, list[Row]]] = {}
        self._text_lengths: dict[str, int] = {}
        self._session = 0

    def begin_session(self, session: int) -> None:
        """Discard rows read in another session: in between, another server may have written rows without an event."""
        if session != self._session:
            self.discard_rows()
            self._session = session

    def get_rows(self, table: str, key: Hashable) -> list[Row] | None:
        """The cached rows; None when they are not cached."""
        cached = self._tables.get(table)
        return cached.get(key) if cached is not None else None

    def store_rows(self, table: str, key: Hashable, rows: list[Row]) -> None:
        """Cache rows until the table is written to. Clears the table's cache first when a limit is reached."""
        cached = self._tables.setdefault(table, {})
        length = sum(len(value) for row in rows for value in row if isinstance(value, str))
        cached_length = self._text_lengths.get(table, 0)
        if len(cached) >= WRITER_CACHED_RESULTS_MAX or cached_length + length > WRITER_CACHED_CHARACTERS_MAX:
            cached.clear()
            cached_length = 0
        cached[key] = rows
        self._text_lengths[table] = cached_length + length

    def discard_table(self, table: str) -> None:
        """Discard the rows of a table that is about to be written to."""
        self._tables.pop(table, None)
        self._text_lengths.pop(table, None)

    def discard_rows(self) -> None:
        """Discard all rows, since an undone mutation may have read its own writes.

        The numbers stay valid: an undone mutation was assigned none.
        """
        self._tables.clear()
        self._text_lengths.clear()

    def trim_streams(self) -> None:
        """Clear the stream numbers if there are more than WRITER_CACHED_STREAMS_MAX. Called between two batches."""
        if len(self.last_seqs) > WRITER_CACHED_STREAMS_MAX:
            self.last_seqs.clear()
