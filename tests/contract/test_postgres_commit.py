"""A COMMIT in doubt: the store finds out whether it happened, and runs the matching callbacks."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.store.postgres.engine import Postgres
from greenroom.store.postgres.session import Session
from greenroom.store.store import Store
from tests.contract.hosted import Closing, Heard, backend_of, still
from tests.contract.things import ADD, adding, everything, failing, names
from tests.postgres import Server


def cut_at_commit(monkeypatch: pytest.MonkeyPatch, server: Server, store: Store, *, after: bool) -> None:
    """Terminate the writer's session at the next COMMIT: before it is sent, or after it, before its answer is read."""
    command, pid = Session._command, backend_of(store)

    def cutting(session: Session, sql: str) -> None:
        if sql != "COMMIT":
            return command(session, sql)
        monkeypatch.setattr(Session, "_command", command)
        if after:
            command(session, sql)
        server.admin("SELECT pg_terminate_backend(%s, 5000)", pid)
        return command(session, "SELECT 1")

    monkeypatch.setattr(Session, "_command", cutting)


def told_by(told: list[str], name: str) -> Any:
    def mutation(transaction: Any) -> str:
        transaction.after_commit(lambda: told.append(f"{name} done"))
        transaction.if_abandoned(lambda: told.append(f"{name} not"))
        return str(adding(name)(transaction))

    return mutation


def test_a_commit_that_was_done_and_not_answered_is_found_done(
    url: str, postgres: Server, closing: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, told = Heard(), list[str]()
    store = closing(still(url, heard))
    cut_at_commit(monkeypatch, postgres, store, after=True)

    good, bad = store.writer.run_batch([told_by(told, "a"), failing("b")])

    assert good.result() == "a"
    assert type(bad.exception()).__name__ == "Boom"
    assert told == ["a done"]
    assert names(store) == ["a"]
    assert heard == everything(store)
    assert store.run(told_by(told, "c")) == "c"
    assert [event.pos for event in heard] == [1, 2]


def test_a_commit_that_never_arrived_is_found_undone(
    url: str, postgres: Server, closing: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, told = Heard(), list[str]()
    store = closing(still(url, heard))
    cut_at_commit(monkeypatch, postgres, store, after=False)

    with pytest.raises(StoreUnavailable, match="Nothing was written"):
        store.run(told_by(told, "a"))

    assert told == ["a not"]
    assert names(store) == []
    assert store.run(told_by(told, "b")) == "b"
    assert [event.pos for event in heard] == [1]


@pytest.mark.parametrize("after", [True, False])
def test_of_what_has_no_event_nobody_is_told_that_it_was_not_done(
    url: str, postgres: Server, closing: Closing, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    store = closing(still(url))
    cut_at_commit(monkeypatch, postgres, store, after=after)

    with pytest.raises(StoreUnavailable, match="may have been committed"):
        store.run(lambda transaction: transaction.put(ADD, name="a", size=1))
    assert names(store) == (["a"] if after else [])
    assert store.run(adding("b")) == "b"


@pytest.mark.parametrize("after", [True, False])
def test_what_a_commit_came_to_is_made_good_when_the_store_can_be_asked_again(
    url: str, postgres: Server, closing: Closing, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    heard, told = Heard(), list[str]()
    store = closing(still(url, heard))
    store.run(told_by(told, "first"))
    cut_at_commit(monkeypatch, postgres, store, after=after)
    away = psycopg.OperationalError("connection refused")
    monkeypatch.setattr(Postgres, "_open", raising(away))

    with pytest.raises(StoreUnavailable, match="may have been committed"):
        store.run(told_by(told, "a"))
    with pytest.raises(StoreUnavailable, match="connection refused"):
        store.run(told_by(told, "lost"))
    assert told == ["first done"]

    monkeypatch.undo()
    assert store.run(told_by(told, "b")) == "b"
    assert told == ["first done", "a done" if after else "a not", "b done"]
    assert names(store) == (["a", "b", "first"] if after else ["b", "first"])
    assert heard == everything(store)


def test_another_server_that_came_to_the_same_place_is_not_taken_for_our_commit(
    url: str, postgres: Server, closing: Closing, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, told = Heard(), list[str]()
    store = closing(still(url, heard))
    store.run(told_by(told, "first"))
    cut_at_commit(monkeypatch, postgres, store, after=False)
    monkeypatch.setattr(Postgres, "_open", raising(psycopg.OperationalError("connection refused")))
    with pytest.raises(StoreUnavailable, match="may have been committed"):
        store.run(told_by(told, "a"))
    monkeypatch.undo()
    other = still(url)
    other.run(adding("theirs"))
    other.close()

    with pytest.raises(StoreUnavailable, match="Another server wrote"):
        store.run(told_by(told, "b"))
    assert told == ["first done"]
    assert [event.pos for event in heard] == [1]
    assert names(store) == ["first", "theirs"]


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail
