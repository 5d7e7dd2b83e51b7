"""One session with PostgreSQL: statements out, rows in. Must not know the lock, the pool or what is stored.

It speaks libpq's pipeline itself: commands that give no rows wait for the next statement and go out with it, which
saves the half of a small mutation's round trips, and no wait is without an end. psycopg opens the connection and names
the errors.
"""

import select
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from greenroom.domain.errors import Unusable
from greenroom.store.engine import CommitUnknown

DEFERRED: Final = ("BEGIN", "SAVEPOINT", "RELEASE")
"""Commands that wait for the next statement: how they end is told there."""

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

Silence = Callable[[psycopg.OperationalError], None]

IN_TRANSACTION: Final = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
GOOD: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class Session:
    """A cursor on a connection of its own; for one thread at a time, but for `seems_sound`."""

    def __init__(self, connection: psycopg.Connection[Any], wait_s: float, on_silence: Silence) -> None:
        """Give the connection up when it says nothing for `wait_s` seconds, and tell `on_silence`."""
        self.rowcount = -1
        self._on_silence = on_silence
        self._connection = connection
        self._line = connection.pgconn
        self._line.nonblocking = 1
        self._line.enter_pipeline_mode()
        self._wait_s = wait_s
        self._poll = select.poll()
        self._deferred: list[bytes] = []
        self._prepared: dict[str, bytes] = {}
        self._names = count()
        self._result: pq.abc.PGresult | None = None
        self._speaks = False

    @property
    def is_open(self) -> bool:
        return self._line.status == pq.ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        return self.is_open and (bool(self._deferred) or self._line.transaction_status in IN_TRANSACTION)

    def seems_sound(self) -> bool:
        """Tell at once, from any thread: while nothing is asked nothing is to be heard but the end or a notice."""
        if self._speaks:
            return True
        ready = select.poll()
        try:
            ready.register(self._line.socket, select.POLLIN)
        except psycopg.OperationalError:  # it was closed
            return False
        return not ready.poll(0) or self._speaks

    def listen(self) -> bool:
        """Take in what came unasked; False when that was the end."""
        try:
            while self.is_open and not self.seems_sound():
                self._line.consume_input()
        except psycopg.OperationalError:
            return False
        return self.is_open

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> None:
        """Run a statement with $1, $2, ... in it, or a command without arguments."""
        if arguments:
            self.executemany(sql, (arguments,))
        elif sql.startswith(DEFERRED):
            self._deferred.append(sql.encode())
        elif sql == "COMMIT":
            self._commit()
        else:
            self._command(sql)

    def executemany(self, sql: str, many: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each set of arguments, all of them in one round trip."""
        known = self._prepared.get(sql)
        # A number is never used again: the statement may be prepared, and its first execution fail.
        name = known or b"s%d" % next(self._names)
        texts = [[spelled(value) for value in arguments] for arguments in many]

        def send() -> None:
            if known is None:
                self._line.send_prepare(name, sql.encode())
            for arguments in texts:
                self._line.send_query_prepared(name, arguments)

        self._exchange(send)
        self._prepared[sql] = name

    def fetchall(self) -> list[Any]:
        """The rows of the last statement."""
        result = self._result
        if result is None:
            return []
        reads = [READ[result.ftype(column)] for column in range(result.nfields)]
        return list(rows_of(result, reads))

    def end(self) -> None:
        """Undo whatever transaction there is; commands that nothing followed are not sent at all."""
        self._deferred.clear()
        if self.in_transaction:
            self.execute("ROLLBACK")

    def release(self) -> psycopg.Connection[Any]:
        """Give the connection to somebody who speaks to it as psycopg does; this session is over."""
        self._line.exit_pipeline_mode()
        return self._connection

    def close(self) -> None:
        """End the session, whatever its state."""
        self._connection.close()

    def _command(self, sql: str) -> None:
        self._exchange(lambda: self._line.send_query_params(sql.encode(), None))

    def _commit(self) -> None:
        try:
            self._command("COMMIT")
        except psycopg.Error as error:
            if self.is_open:
                raise
            raise CommitUnknown(str(error)) from error
        if self._result is None or self._result.command_status != b"COMMIT":
            raise psycopg.OperationalError("the transaction had failed, and was rolled back instead of committed")

    def _exchange(self, send: Callable[[], None]) -> None:
        """Send what waits and what `send` adds, and take in all answers. Raises the first error among them."""
        line, self._speaks = self._line, True
        try:
            for command in self._deferred:
                line.send_query_params(command, None)
            self._deferred.clear()
            send()
            line.pipeline_sync()
            self._flush()
            self._take_in()
        finally:
            self._speaks = False

    def _flush(self) -> None:
        while self._line.flush():
            # Both ways: a server that waits until we read would not read either.
            if self._await(select.POLLIN | select.POLLOUT) & select.POLLIN:
                self._line.consume_input()

    def _take_in(self) -> None:
        failure: Exception | None = None
        self._result, self.rowcount = None, 0
        try:
            while (result := self._receive()) is None or result.status != pq.ExecStatus.PIPELINE_SYNC:
                if result is None or result.status == pq.ExecStatus.PIPELINE_ABORTED:
                    continue
                if result.status in GOOD:
                    self._result = result
                    self.rowcount += result.command_tuples or 0
                elif failure is None:
                    failure = error_from_result(result)
        except psycopg.OperationalError as error:
            # What the server said before it hung up tells more than that it hung up.
            raise failure or error from None
        if failure is not None:
            raise failure

    def _receive(self) -> pq.abc.PGresult | None:
        line = self._line
        while line.is_busy():
            self._await(select.POLLIN)
            line.consume_input()
        result = line.get_result()
        if result is None and not self.is_open:
            raise psycopg.OperationalError("the connection to the database was lost")
        return result

    def _await(self, events: int) -> int:
        self._poll.register(self._line.socket, events)
        ready = self._poll.poll(self._wait_s * 1000)
        if not ready:
            self._line.finish()
            silence = psycopg.OperationalError(f"the database did not answer for {self._wait_s:g} s")
            self._on_silence(silence)
            raise silence
        return ready[0][1]


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


def rows_of(result: pq.abc.PGresult, reads: Sequence[Callable[[bytes], Any]]) -> Iterator[tuple[Any, ...]]:
    get = result.get_value
    for number in range(result.ntuples):
        values = (get(number, column) for column in range(len(reads)))
        yield tuple(None if value is None else read(value) for value, read in zip(values, reads, strict=True))
