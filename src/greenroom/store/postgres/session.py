"""One PostgreSQL session in libpq's pipeline mode: sends statements, receives rows.

Deferred statements are sent together with the next statement whose result is needed, which saves most of a mutation's
round trips. psycopg opens the connection and provides the error classes.
Options: a session without an answer for `wait_s` seconds is closed, so no wait is unbounded.
Limits: the error of a deferred statement is raised by a later statement than the one that failed.
"""

import select
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

from greenroom.store.engine import CommitUnknown, RowsDiffer
from greenroom.store.postgres.values import rows_of, spelled_all

DEFERRED: Final = ("BEGIN", "SAVEPOINT", "RELEASE")
"""Commands that are deferred until the next statement, which also raises their errors."""

Silence = Callable[[psycopg.OperationalError], None]

WITHOUT_ARGUMENTS: Final = ((),)

IN_TRANSACTION: Final = (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)
GOOD: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class Order(NamedTuple):
    """A statement to send, once for each set of arguments. `many` is None for a command that need not be prepared.

    `rows` is how many rows a deferred statement must change; None for any number.
    """

    sql: str
    many: Sequence[Sequence[bytes | None]] | None = None
    rows: int | None = None


class Session:
    """A cursor with its own connection; for one thread at a time, except `seems_sound`."""

    def __init__(self, connection: psycopg.Connection[Any], wait_s: float, on_silence: Silence) -> None:
        """Close the connection when PostgreSQL does not answer for `wait_s` seconds, and call `on_silence`."""
        self.rowcount = -1
        self._on_silence = on_silence
        self._connection = connection
        self._pgconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        self._wait_s = wait_s
        self._poll = select.poll()
        self._deferred_commands: list[Order] = []
        self._deferred_statements: list[Order] = []
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

    def seems_sound(self) -> bool:
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

    def listen(self) -> bool:
        """Read notices that arrived while the session was idle; False when the connection was closed."""
        try:
            while self.is_open and not self.seems_sound():
                self._pgconn.consume_input()
        except psycopg.OperationalError:
            return False
        return self.is_open

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> None:
        """Run a statement with parameters $1, $2, ..., or a command without arguments."""
        if arguments:
            self.executemany(sql, (arguments,))
        elif sql.startswith(DEFERRED):
            self.settle()
            self._deferred_commands.append(Order(sql, WITHOUT_ARGUMENTS))
        elif sql == "COMMIT":
            self._commit()
        else:
            self._command(sql)

    def executemany(self, sql: str, many: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each set of arguments, in one round trip."""
        self._exchange(Order(sql, spelled_all(many)))

    def put(self, sql: str, many: Sequence[Sequence[Any]], rows: int | None = None) -> None:
        """Run a statement as `executemany` does, but deferred: the next exchange sends it and raises its error."""
        self._deferred_statements.append(Order(sql, spelled_all(many), rows))

    def settle(self) -> None:
        """Send all deferred statements and wait for their results."""
        if self._deferred_statements:
            self._exchange()

    def fetchall(self) -> list[Any]:
        """The rows of the last statement."""
        return [] if self._result is None else rows_of(self._result)

    def end(self) -> None:
        """Roll back the transaction, if there is one; deferred commands and statements are dropped unsent."""
        self._deferred_commands.clear()
        self._deferred_statements.clear()
        if self.in_transaction:
            self.execute("ROLLBACK")

    def release(self) -> psycopg.Connection[Any]:
        """Leave pipeline mode and return the psycopg connection; this session must not be used any more."""
        self._pgconn.exit_pipeline_mode()
        return self._connection

    def close(self) -> None:
        """End the session, whatever its state."""
        self._connection.close()

    def _command(self, sql: str) -> None:
        if sql.startswith("ROLLBACK"):
            self._deferred_statements.clear()  # These would be rolled back anyway, and must not fail now.
        self._exchange(Order(sql, WITHOUT_ARGUMENTS if sql == "COMMIT" else None))

    def _commit(self) -> None:
        if any(order.rows is not None for order in self._deferred_statements):
            self.settle()  # Row counts are checked before the commit.
        try:
            self._command("COMMIT")
        except Exception as error:
            if self.is_open:
                raise
            raise CommitUnknown(str(error)) from error
        if self._result is None or self._result.command_status != b"COMMIT":
            raise psycopg.OperationalError("the transaction had failed and was rolled back instead of committed")

    def _exchange(self, *orders: Order) -> None:
        """Send the deferred orders and these ones, and read all results. Raises the first error among them."""
        self._is_exchanging = True
        orders = (*self._deferred_commands, *self._deferred_statements, *orders)
        self._deferred_commands.clear()
        self._deferred_statements.clear()
        try:
            sent = [(order, self._send(order)) for order in orders]
            self._pgconn.pipeline_sync()
            self._flush()
            failure = self._take_in(sent)
        except BaseException:
            # Close: results that are still to come would be mistaken for those of the next statement.
            self._pgconn.finish()
            raise
        finally:
            self._is_exchanging = False
        if failure is not None:
            raise failure

    def _send(self, order: Order) -> bool:
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

    def _take_in(self, sent: Sequence[tuple[Order, bool]]) -> Exception | None:
        """Read the results of all orders; the first error among them, or None."""
        failure: Exception | None = None
        self._result, receive = None, self._receive
        try:
            for order, is_new in sent:
                if is_new and (result := receive()).status not in GOOD:
                    del self._prepared[order.sql]
                    failure = failure or error_from_result(result)
                rows = 0
                for _ in order.many if order.many is not None else WITHOUT_ARGUMENTS:
                    result = receive()
                    if result.status in GOOD:
                        self._result = result
                        rows += result.command_tuples or 0
                    else:  # Statements after an error report only that they were aborted.
                        failure = failure or error_from_result(result)
                self.rowcount = rows
                if failure is None and order.rows not in (None, rows):
                    failure = RowsDiffer(f"{rows} rows instead of {order.rows} by {order.sql!r}")
            while (result := receive()).status != pq.ExecStatus.PIPELINE_SYNC:
                failure = failure or error_from_result(result)  # In autocommit mode a commit fails here.
        except psycopg.OperationalError as error:
            # An error that the server sent before it closed the connection explains more than the closing.
            raise failure or error from None
        return failure

    def _receive(self) -> pq.abc.PGresult:
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
