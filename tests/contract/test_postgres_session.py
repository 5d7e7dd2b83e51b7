"""A session with PostgreSQL stays in step: each answer belongs to its command, or the session is closed."""

from typing import Any

import psycopg
import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.store.postgres.pipeline import PostgresSession
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from tests.contract.postgres_stores import CloseLater, PublishedEvents, open_threadless, postgres_engine
from tests.contract.things_table import ADD, add_thing_deferred, all_events, last_pos, thing_names

CREATE_DEFERRED_TABLE = "CREATE TABLE later (number bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)"
ADD_DEFERRED_ROW = "INSERT INTO later VALUES ($1)"
ROWS = 20_000


@pytest.fixture
def published() -> PublishedEvents:
    return PublishedEvents()


@pytest.fixture
def store(url: str, close_later: CloseLater, published: PublishedEvents) -> Store:
    return close_later(open_threadless(url, published))


@pytest.fixture
def session(store: Store) -> PostgresSession:
    return postgres_engine(store).writer_cursor()


def assert_in_step(session: PostgresSession) -> None:
    for number in (7, 8):
        session.execute("SELECT $1::bigint", (number,))
        assert session.fetchall() == [(number,)]


def test_autocommit_failure_is_raised(session: PostgresSession) -> None:
    session.execute(CREATE_DEFERRED_TABLE)
    session.execute(ADD_DEFERRED_ROW, (1,))
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.execute(ADD_DEFERRED_ROW, (1,))
    assert_in_step(session)


def test_failure_at_commit_rolls_back(session: PostgresSession) -> None:
    session.execute(CREATE_DEFERRED_TABLE)
    session.execute("BEGIN")
    session.execute_deferred(ADD_DEFERRED_ROW, [(1,), (1,)])
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.execute("COMMIT")
    session.execute("SELECT count(*) FROM later")
    assert session.fetchall() == [(0,)]
    assert_in_step(session)


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
@pytest.mark.parametrize("answers_read", range(1, 11))
def test_interrupted_read_closes_session(
    store: Store, monkeypatch: pytest.MonkeyPatch, answers_read: int, error: type[BaseException]
) -> None:
    """A single mutation reads more answers than `answers_read` before COMMIT is sent."""
    receive, remaining = PostgresSession._next_result, iter([None] * answers_read)

    def interrupted(session: PostgresSession) -> Any:
        if next(remaining, error) is error:
            monkeypatch.undo()
            raise error
        return receive(session)

    monkeypatch.setattr(PostgresSession, "_next_result", interrupted)
    with pytest.raises((StoreUnavailable, error)):
        store.run(add_thing_deferred("a"))
    assert thing_names(store) == []
    assert store.run(add_thing_deferred("b")) == "b"
    assert thing_names(store) == ["b"]
    assert [event.pos for event in all_events(store)] == [1]


def test_interrupted_commit_is_found_committed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = PostgresSession._next_result

    def interrupted(session: PostgresSession) -> Any:
        result = receive(session)
        if result.command_status == b"COMMIT":
            monkeypatch.undo()
            raise MemoryError
        return result

    monkeypatch.setattr(PostgresSession, "_next_result", interrupted)
    assert store.run(add_thing_deferred("a")) == "a"
    assert store.run(add_thing_deferred("b")) == "b"
    assert thing_names(store) == ["a", "b"]


def test_libpq_error_closes_session(store: Store) -> None:
    def bad(transaction: Transaction) -> None:
        transaction._cursor.execute_deferred("SELECT 1", [[1] * 2**16])

    for future in store.writer.run_batch([add_thing_deferred("a"), bad]):
        assert isinstance(future.exception(), StoreUnavailable)
    assert store.run(add_thing_deferred("b")) == "b"
    assert thing_names(store) == ["b"]


def test_prepared_statements_are_tracked_after_failure(store: Store, session: PostgresSession) -> None:
    def unprepared() -> int:
        session.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(session.fetchall()[0][0]) - len(session._prepared)

    session.execute("DEALLOCATE ALL")
    session._prepared.clear()
    for _ in range(3):
        [future] = store.writer.run_batch([add_thing_deferred("a", size=-1)])
        assert isinstance(future.exception(), psycopg.errors.CheckViolation)
    session.execute_deferred("SELECT no_such_function($1)", [(1,)])
    with pytest.raises(psycopg.errors.UndefinedFunction):
        session.execute("SELECT $1::bigint", (1,))
    assert unprepared() == 0
    assert_in_step(session)
    assert store.run(add_thing_deferred("a")) == "a"


def test_failing_event_insert_rolls_back_batch(
    store: Store, session: PostgresSession, published: PublishedEvents
) -> None:
    store.run(add_thing_deferred("a"))
    session.execute("INSERT INTO events VALUES (2, 's', 2, 'thing.added', '', '', '{}')")
    calls: list[str] = []

    def with_callbacks(transaction: Transaction) -> None:
        transaction.on_commit(lambda: calls.append("done"))
        transaction.on_rollback(lambda: calls.append("not"))
        add_thing_deferred("b")(transaction)

    for future in store.writer.run_batch([with_callbacks, add_thing_deferred("c")]):
        assert isinstance(future.exception(), StoreUnavailable)
        assert "Nothing was written" in str(future.exception())
    assert calls == ["not"]
    assert thing_names(store) == ["a"]

    session.execute("DELETE FROM events WHERE pos = 2")
    assert store.run(add_thing_deferred("d")) == "d"
    assert thing_names(store) == ["a", "d"]
    assert published == all_events(store)
    assert [event.pos for event in published] == [1, 2]
    assert postgres_engine(store).writer_cursor() is session, "the session was replaced"


@pytest.mark.parametrize("size", [1, -1])
def test_large_batch_does_not_deadlock(store: Store, size: int) -> None:
    def mutation(transaction: Transaction) -> None:
        transaction.execute_deferred(ADD, name="first", size=size)
        transaction.execute_many_deferred(ADD, [{"name": f"{number}".zfill(1000), "size": 1} for number in range(ROWS)])
        for number in range(ROWS):
            transaction.record_event("s", "thing.added", "test", {"number": number})
        transaction.record_event("s", "thing.added", "test", {"text": "x" * 2**20})

    [before, big, after] = store.writer.run_batch([add_thing_deferred("a"), mutation, add_thing_deferred("b")])
    assert (before.result(), after.result()) == ("a", "b")
    assert (big.exception() is None) is (size == 1)
    assert last_pos(store) == (ROWS + 3 if size == 1 else 2)
