"""One PostgreSQL session in libpq's pipeline mode: sends statements, receives rows, converts values from and to text.

Deferred statements are sent together with the next statement whose result is needed, which saves most of a mutation's
round trips. psycopg opens the connection and provides the error classes.
Options: a session without an answer for `wait_s` seconds is closed, so no wait is unbounded.
Limits: the error of a deferred statement is raised by a later statement than the one that failed. Only the types in
`CONVERTERS` can be read.
"""

import select
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from greenroom.domain.errors import Unusable
from greenroom.store.engine import CommitInDoubt, RowCountMismatch

DEFERRED_COMMANDS: Final = ("BEGIN", "SAVEPOINT", "RELEASE")
"""Commands that are deferred until the next statement, which also raises their errors."""

OnSilence = Callable[[psycopg.OperationalError], None]

NO_ARGUMENTS: Final = ((),)

IN_TRANSACTION: Final = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
SUCCESS: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)

CONVERTERS: Final[dict[int, Callable[[bytes], Any]]] = {
    20: int,  # bigint
    21: int,  # smallint
    23: int,  # integer
    19: bytes.decode,  # name
    25: bytes.decode,  # text
    1043: bytes.decode,  # varchar
    701: float,  # double precision
}
"""The converter for each type OID. The store uses no other types: see greenroom.store.schema."""


class PipelineStatement(NamedTuple):
    """A statement to send, once for each set of arguments. `many` is None for a command that need not be prepared.

    `rows` is how many rows a deferred statement must change; None for any number.
    """

    sql: str
    argument_sets: Sequence[Sequence[bytes | None]] | None = None
    expected_rows: int | None = None


class PostgresSession:
    """A cursor with its own connection; for one thread at a time, except `looks_usable`."""

    def __init__(self, connection: psycopg.Connection[Any], wait_s: float, on_silence: OnSilence) -> None:
        """Close the connection when PostgreSQL does not answer for `wait_s` seconds, and call `on_silence`."""
        self.rowcount = -1
        self._on_silence = on_silence
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        self._wait_s = wait_s
        self._poll = select.poll()
        self._deferred_commands: list[PipelineStatement] = []
        self._deferred_statements: list[PipelineStatement] = []
        self._prepared: dict[str, bytes] = {}
        self._statement_numbers = count()
        self._result: pq.abc.PGresult | None = None
        self._is_exchanging = False

    @property
    def is_open(self) -> bool:
        return self._pgconn.status == pq.ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        return self.is_open and (bool(self._deferred_commands) or self._pgconn.transaction_status in IN_TRANSACTION)

    def looks_usable(self) -> bool:
        """Whether the connection looks usable: without waiting, from any thread.

        An idle connection has data to read only when PostgreSQL closed it or sent a notice; then this is False.
        """
        if self._is_exchanging:
            return True
        ready = select.poll()
        try:
            ready.register(self._pgconn.socket, select.POLLIN)
        except psycopg.OperationalError:  # it was closed
            return False
        return not ready.poll(0) or self._is_exchanging

    def read_notices(self) -> bool:
        """Read notices that arrived while the session was idle; False when the connection was closed."""
        try:
            while self.is_open and not self.looks_usable():
                self._pgconn.consume_input()
        except psycopg.OperationalError:
            return False
        return self.is_open

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> None:
        """Run a statement with parameters $1, $2, ..., or a command without arguments."""
        if arguments:
            self.executemany(sql, (arguments,))
        elif sql.startswith(DEFERRED_COMMANDS):
            self.flush()
            self._deferred_commands.append(PipelineStatement(sql, NO_ARGUMENTS))
        elif sql == "COMMIT":
            self._commit()
        else:
            self._run_command(sql)

    def executemany(self, sql: str, many: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each set of arguments, in one round trip."""
        self._exchange(PipelineStatement(sql, encode_arguments(many)))

    def execute_deferred(self, sql: str, many: Sequence[Sequence[Any]], rows: int | None = None) -> None:
        """Run a statement as `executemany` does, but deferred: the next exchange sends it and raises its error."""
        self._deferred_statements.append(PipelineStatement(sql, encode_arguments(many), rows))

    def flush(self) -> None:
        """Send all deferred statements and wait for their results."""
        if self._deferred_statements:
            self._exchange()

    def fetchall(self) -> list[Any]:
        """The rows of the last statement."""
        return [] if self._result is None else decode_rows(self._result)

    def rollback(self) -> None:
        """Roll back the transaction, if there is one; deferred commands and statements are dropped unsent."""
        self._deferred_commands.clear()
        self._deferred_statements.clear()
        if self.in_transaction:
            self.execute("ROLLBACK")

    def detach(self) -> psycopg.Connection[Any]:
        """Leave pipeline mode and return the psycopg connection; this session must not be used any more."""
        self._pgconn.exit_pipeline_mode()
        return self._connection

    def close(self) -> None:
        """End the session, whatever its state."""
        self._connection.close()

    def _run_command(self, sql: str) -> None:
        if sql.startswith("ROLLBACK"):
            self._deferred_statements.clear()  # These would be rolled back anyway, and must not fail now.
        self._exchange(PipelineStatement(sql, NO_ARGUMENTS if sql == "COMMIT" else None))

    def _commit(self) -> None:
        if any(order.expected_rows is not None for order in self._deferred_statements):
            self.flush()  # Row counts are checked before the commit.
        try:
            self._run_command("COMMIT")
        except Exception as error:
            if self.is_open:
                raise
            raise CommitInDoubt(str(error)) from error
        if self._result is None or self._result.command_status != b"COMMIT":
            raise psycopg.OperationalError("the transaction had failed and was rolled back instead of committed")

    def _exchange(self, *orders: PipelineStatement) -> None:
        """Send the deferred orders and these ones, and read all results. Raises the first error among them."""
        self._is_exchanging = True
        orders = (*self._deferred_commands, *self._deferred_statements, *orders)
        self._deferred_commands.clear()
        self._deferred_statements.clear()
        try:
            sent = [(order, self._send(order)) for order in orders]
            self._pgconn.pipeline_sync()
            self._flush()
            failure = self._read_results(sent)
        except BaseException:
            # Close: results that are still to come would be mistaken for those of the next statement.
            self._pgconn.finish()
            raise
        finally:
            self._is_exchanging = False
        if failure is not None:
            raise failure

    def _send(self, order: PipelineStatement) -> bool:
        """Send an order; whether it had to be prepared first, which yields one more result before the others."""
        sql, many, _ = order
        if many is None:
            self._pgconn.send_query_params(sql.encode(), None)
            return False
        is_new = sql not in self._prepared
        if is_new:
            name = self._prepared[sql] = b"s%d" % next(self._statement_numbers)
            self._pgconn.send_prepare(name, sql.encode())
        for arguments in many:
            self._pgconn.send_query_prepared(self._prepared[sql], arguments)
        return is_new

    def _flush(self) -> None:
        while self._pgconn.flush():
            # Wait for both directions: a server whose output is not read may not read its input either.
            if self._wait_for_socket(select.POLLIN | select.POLLOUT) & select.POLLIN:
                self._pgconn.consume_input()

    def _read_results(self, sent: Sequence[tuple[PipelineStatement, bool]]) -> Exception | None:
        """Read the results of all orders; the first error among them, or None."""
        failure: Exception | None = None
        self._result, receive = None, self._next_result
        try:
            for order, is_new in sent:
                if is_new and (result := receive()).status not in SUCCESS:
                    del self._prepared[order.sql]
                    failure = failure or error_from_result(result)
                rows = 0
                for _ in order.argument_sets if order.argument_sets is not None else NO_ARGUMENTS:
                    result = receive()
                    if result.status in SUCCESS:
                        self._result = result
                        rows += result.command_tuples or 0
                    else:  # Statements after an error report only that they were aborted.
                        failure = failure or error_from_result(result)
                self.rowcount = rows
                if failure is None and order.expected_rows not in (None, rows):
                    failure = RowCountMismatch(f"{rows} rows instead of {order.expected_rows} by {order.sql!r}")
            while (result := receive()).status != pq.ExecStatus.PIPELINE_SYNC:
                failure = failure or error_from_result(result)  # In autocommit mode a commit fails here.
        except psycopg.OperationalError as error:
            # An error that the server sent before it closed the connection explains more than the closing.
            raise failure or error from None
        return failure

    def _next_result(self) -> pq.abc.PGresult:
        """The next result. libpq returns one None between two statements; two in a row mean that the connection ended.

        Raises psycopg.OperationalError.
        """
        pgconn = self._pgconn
        for _ in range(2):
            while pgconn.is_busy():
                self._wait_for_socket(select.POLLIN)
                pgconn.consume_input()
            if (result := pgconn.get_result()) is not None:
                return result
        raise psycopg.OperationalError("the connection to the database was lost")

    def _wait_for_socket(self, events: int) -> int:
        self._poll.register(self._pgconn.socket, events)
        ready = self._poll.poll(self._wait_s * 1000)
        if not ready:
            self._pgconn.finish()
            error = psycopg.OperationalError(f"the database did not answer for {self._wait_s:g} s")
            self._on_silence(error)
            raise error
        return ready[0][1]


def encode_arguments(many: Sequence[Sequence[Any]]) -> list[list[bytes | None]]:
    """Convert sets of arguments to text."""
    return [[encode_value(value) for value in arguments] for arguments in many]


def encode_value(value: object) -> bytes | None:
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


def decode_rows(result: pq.abc.PGresult) -> list[tuple[Any, ...]]:
    """The rows of a result, as Python values."""
    get, converters = result.get_value, [(column, CONVERTERS[result.ftype(column)]) for column in range(result.nfields)]
    # A list is faster here than a generator, and this runs for each value that is read.
    return [
        tuple([None if (value := get(number, column)) is None else convert(value) for column, convert in converters])
        for number in range(result.ntuples)
    ]
