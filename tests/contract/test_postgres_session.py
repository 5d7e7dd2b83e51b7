"""A session with PostgreSQL stays in step: each answer belongs to its command, or the session is closed."""

from typing import Any

import psycopg
import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.store.postgres.session import Session
from greenroom.store.store import Store
from greenroom.store.transaction import Transaction
from tests.contract.hosted import Closing, Heard, engine_of, still
from tests.contract.things import ADD, everything, last_pos, names, putting

LATER = "CREATE TABLE later (number bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)"
ADD_LATER = "INSERT INTO later VALUES ($1)"
ROWS = 20_000


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(url: str, closing: Closing, heard: Heard) -> Store:
    return closing(still(url, heard))


@pytest.fixture
def session(store: Store) -> Session:
    return engine_of(store).writing()


def assert_in_step(session: Session) -> None:
    for number in (7, 8):
        session.execute("SELECT $1::bigint", (number,))
        assert session.fetchall() == [(number,)]


def test_a_statement_that_fails_as_it_commits_by_itself_has_failed(session: Session) -> None:
    session.execute(LATER)
    session.execute(ADD_LATER, (1,))
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.execute(ADD_LATER, (1,))
    assert_in_step(session)


def test_what_fails_only_as_it_is_committed_is_not_committed(session: Session) -> None:
    session.execute(LATER)
    session.execute("BEGIN")
    session.put(ADD_LATER, [(1,), (1,)])
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.execute("COMMIT")
    session.execute("SELECT count(*) FROM later")
    assert session.fetchall() == [(0,)]
    assert_in_step(session)


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
@pytest.mark.parametrize("which", range(1, 11))
def test_a_session_that_was_not_heard_to_the_end_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch, which: int, error: type[BaseException]
) -> None:
    """A single mutation reads more answers than `which` before COMMIT is sent."""
    receive, left = Session._receive, iter([None] * which)

    def breaking(session: Session) -> Any:
        if next(left, error) is error:
            monkeypatch.undo()
            raise error
        return receive(session)

    monkeypatch.setattr(Session, "_receive", breaking)
    with pytest.raises((StoreUnavailable, error)):
        store.run(putting("a"))
    assert names(store) == []
    assert store.run(putting("b")) == "b"
    assert names(store) == ["b"]
    assert [event.pos for event in everything(store)] == [1]


def test_a_commit_that_was_not_heard_to_the_end_is_found_done(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Session._receive

    def breaking(session: Session) -> Any:
        result = receive(session)
        if result.command_status == b"COMMIT":
            monkeypatch.undo()
            raise MemoryError
        return result

    monkeypatch.setattr(Session, "_receive", breaking)
    assert store.run(putting("a")) == "a"
    assert store.run(putting("b")) == "b"
    assert names(store) == ["a", "b"]


def test_what_libpq_does_not_take_takes_the_session_with_it(store: Store) -> None:
    def bad(transaction: Transaction) -> None:
        transaction._cursor.put("SELECT 1", [[1] * 2**16])

    for future in store.writer.run_batch([putting("a"), bad]):
        assert isinstance(future.exception(), StoreUnavailable)
    assert store.run(putting("b")) == "b"
    assert names(store) == ["b"]


def test_what_was_prepared_is_known_even_if_something_failed_beside_it(store: Store, session: Session) -> None:
    def unprepared() -> int:
        session.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(session.fetchall()[0][0]) - len(session._prepared)

    session.execute("DEALLOCATE ALL")
    session._prepared.clear()
    for _ in range(3):
        [future] = store.writer.run_batch([putting("a", size=-1)])
        assert isinstance(future.exception(), psycopg.errors.CheckViolation)
    session.put("SELECT no_such_function($1)", [(1,)])
    with pytest.raises(psycopg.errors.UndefinedFunction):
        session.execute("SELECT $1::bigint", (1,))
    assert unprepared() == 0
    assert_in_step(session)
    assert store.run(putting("a")) == "a"


def test_a_log_that_cannot_be_written_takes_the_batch_away(store: Store, session: Session, heard: Heard) -> None:
    store.run(putting("a"))
    session.execute("INSERT INTO events VALUES (2, 's', 2, 'thing.added', '', '', '{}')")
    told: list[str] = []

    def telling(transaction: Transaction) -> None:
        transaction.after_commit(lambda: told.append("done"))
        transaction.if_abandoned(lambda: told.append("not"))
        putting("b")(transaction)

    for future in store.writer.run_batch([telling, putting("c")]):
        assert isinstance(future.exception(), StoreUnavailable)
        assert "Nothing was written" in str(future.exception())
    assert told == ["not"]
    assert names(store) == ["a"]

    session.execute("DELETE FROM events WHERE pos = 2")
    assert store.run(putting("d")) == "d"
    assert names(store) == ["a", "d"]
    assert heard == everything(store)
    assert [event.pos for event in heard] == [1, 2]
    assert engine_of(store).writing() is session, "the session was replaced"


@pytest.mark.parametrize("size", [1, -1])
def test_more_than_a_line_holds_goes_both_ways_at_once(store: Store, size: int) -> None:
    def mutation(transaction: Transaction) -> None:
        transaction.put(ADD, name="first", size=size)
        transaction.put_many(ADD, [{"name": f"{number}".zfill(1000), "size": 1} for number in range(ROWS)])
        for number in range(ROWS):
            transaction.record("s", "thing.added", "test", {"number": number})
        transaction.record("s", "thing.added", "test", {"text": "x" * 2**20})

    [before, big, after] = store.writer.run_batch([putting("a"), mutation, putting("b")])
    assert (before.result(), after.result()) == ("a", "b")
    assert (big.exception() is None) is (size == 1)
    assert last_pos(store) == (ROWS + 3 if size == 1 else 2)
