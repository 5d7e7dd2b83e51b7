"""What the one writer remembers from batch to batch. Must not know what a row or an event means.

Nobody else writes, so what was read stays so until we write it ourselves: a table's rows are forgotten with the first
statement that writes to it. When anything is undone, all that could have seen it is forgotten.
"""

from collections.abc import Hashable
from typing import Any

from greenroom.domain.reliability import STREAMS_COUNTED_MAX, WRITER_ROWS_KEPT_MAX, WRITER_TEXT_KEPT_MAX

Row = tuple[Any, ...]


class Memory:
    """Answers of statements that are asked again and again, and the last numbers given, as far as they are known."""

    def __init__(self) -> None:
        self.last_pos: int | None = None
        self.last_seqs: dict[str, int] = {}
        self._tables: dict[str, dict[Hashable, list[Row]]] = {}
        self._lengths: dict[str, int] = {}
        self._session = 0

    def keep_to(self, session: int) -> None:
        """Forget what was read in another session: in between somebody else may have written what has no event."""
        if session != self._session:
            self.forget_rows()
            self._session = session

    def rows(self, table: str, question: Hashable) -> list[Row] | None:
        """The answer that was given; None when it has to be asked."""
        answers = self._tables.get(table)
        return answers.get(question) if answers is not None else None

    def keep(self, table: str, question: Hashable, rows: list[Row]) -> None:
        """Remember an answer, until the table is written to or too much is kept of it."""
        answers = self._tables.setdefault(table, {})
        length = sum(len(value) for row in rows for value in row if isinstance(value, str))
        before = self._lengths.get(table, 0)
        if len(answers) >= WRITER_ROWS_KEPT_MAX or before + length > WRITER_TEXT_KEPT_MAX:
            answers.clear()
            before = 0
        answers[question] = rows
        self._lengths[table] = before + length

    def forget_table(self, table: str) -> None:
        """The table is being written to."""
        self._tables.pop(table, None)
        self._lengths.pop(table, None)

    def forget_rows(self) -> None:
        """A mutation was undone, which may have read what it had written. The numbers were given to others only."""
        self._tables.clear()
        self._lengths.clear()

    def trim(self) -> None:
        """Between two batches: count in no more streams than may be."""
        if len(self.last_seqs) > STREAMS_COUNTED_MAX:
            self.last_seqs.clear()
