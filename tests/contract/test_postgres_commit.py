"""A COMMIT in doubt: the store finds out whether it happened, and runs the matching callbacks."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from greenroom.domain.errors import StoreUnavailable
from greenroom.store.postgres.engine import PostgresEngine
from greenroom.store.postgres.pipeline import PostgresSession
from greenroom.store.store import Store
from tests.contract.postgres_stores import CloseLater, PublishedEvents, open_threadless, writer_pid
from tests.contract.things_table import ADD, add_thing, all_events, fail_after_add, thing_names
from tests.postgres import PostgresServer


def end_session_at_commit(
    monkeypatch: pytest.MonkeyPatch, server: PostgresServer, store: Store, *, after: bool
) -> None:
    """Terminate the writer's session at the next COMMIT: before it is sent, or after it, before its answer is read."""
    command, pid = PostgresSession._run_command, writer_pid(store)

    def run_command(session: PostgresSession, sql: str) -> None:
        if sql != "COMMIT":
            return command(session, sql)
        monkeypatch.setattr(PostgresSession, "_run_command", command)
        if after:
            command(session, sql)
        server.run_as_superuser("SELECT pg_terminate_backend(%s, 5000)", pid)
        return command(session, "SELECT 1")

    monkeypatch.setattr(PostgresSession, "_run_command", run_command)


def add_with_callbacks(calls: list[str], name: str) -> Any:
    def mutation(transaction: Any) -> str:
        transaction.on_commit(lambda: calls.append(f"{name} done"))
        transaction.on_rollback(lambda: calls.append(f"{name} not"))
        return str(add_thing(name)(transaction))

    return mutation


def test_unanswered_commit_is_found_committed(
    url: str, postgres: PostgresServer, close_later: CloseLater, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, calls = PublishedEvents(), list[str]()
    store = close_later(open_threadless(url, published))
    end_session_at_commit(monkeypatch, postgres, store, after=True)

    good, bad = store.writer.run_batch([add_with_callbacks(calls, "a"), fail_after_add("b")])

    assert good.result() == "a"
    assert type(bad.exception()).__name__ == "MutationFailed"
    assert calls == ["a done"]
    assert thing_names(store) == ["a"]
    assert published == all_events(store)
    assert store.run(add_with_callbacks(calls, "c")) == "c"
    assert [event.pos for event in published] == [1, 2]


def test_unsent_commit_is_found_rolled_back(
    url: str, postgres: PostgresServer, close_later: CloseLater, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, calls = PublishedEvents(), list[str]()
    store = close_later(open_threadless(url, published))
    end_session_at_commit(monkeypatch, postgres, store, after=False)

    with pytest.raises(StoreUnavailable, match="Nothing was written"):
        store.run(add_with_callbacks(calls, "a"))

    assert calls == ["a not"]
    assert thing_names(store) == []
    assert store.run(add_with_callbacks(calls, "b")) == "b"
    assert [event.pos for event in published] == [1]


@pytest.mark.parametrize("after", [True, False])
def test_commit_without_event_stays_in_doubt(
    url: str, postgres: PostgresServer, close_later: CloseLater, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    store = close_later(open_threadless(url))
    end_session_at_commit(monkeypatch, postgres, store, after=after)

    with pytest.raises(StoreUnavailable, match="may have been committed"):
        store.run(lambda transaction: transaction.execute_deferred(ADD, name="a", size=1))
    assert thing_names(store) == (["a"] if after else [])
    assert store.run(add_thing("b")) == "b"


@pytest.mark.parametrize("after", [True, False])
def test_doubt_is_resolved_after_reconnect(
    url: str, postgres: PostgresServer, close_later: CloseLater, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    published, calls = PublishedEvents(), list[str]()
    store = close_later(open_threadless(url, published))
    store.run(add_with_callbacks(calls, "first"))
    end_session_at_commit(monkeypatch, postgres, store, after=after)
    error = psycopg.OperationalError("connection refused")
    monkeypatch.setattr(PostgresEngine, "_open", raise_error(error))

    with pytest.raises(StoreUnavailable, match="may have been committed"):
        store.run(add_with_callbacks(calls, "a"))
    with pytest.raises(StoreUnavailable, match="connection refused"):
        store.run(add_with_callbacks(calls, "lost"))
    assert calls == ["first done"]

    monkeypatch.undo()
    assert store.run(add_with_callbacks(calls, "b")) == "b"
    assert calls == ["first done", "a done" if after else "a not", "b done"]
    assert thing_names(store) == (["a", "b", "first"] if after else ["b", "first"])
    assert published == all_events(store)


def test_event_of_other_server_is_not_own_commit(
    url: str, postgres: PostgresServer, close_later: CloseLater, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, calls = PublishedEvents(), list[str]()
    store = close_later(open_threadless(url, published))
    store.run(add_with_callbacks(calls, "first"))
    end_session_at_commit(monkeypatch, postgres, store, after=False)
    monkeypatch.setattr(PostgresEngine, "_open", raise_error(psycopg.OperationalError("connection refused")))
    with pytest.raises(StoreUnavailable, match="may have been committed"):
        store.run(add_with_callbacks(calls, "a"))
    monkeypatch.undo()
    other = open_threadless(url)
    other.run(add_thing("theirs"))
    other.close()

    with pytest.raises(StoreUnavailable, match="Another server wrote"):
        store.run(add_with_callbacks(calls, "b"))
    assert calls == ["first done"]
    assert [event.pos for event in published] == [1]
    assert thing_names(store) == ["first", "theirs"]


def raise_error(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail
