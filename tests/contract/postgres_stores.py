"""Opens stores on PostgreSQL, and ends their sessions."""

from collections.abc import Callable
from typing import Any

import psycopg

from greenroom.clock import SystemClock
from greenroom.domain.event import Event
from greenroom.store.postgres.engine import PostgresEngine
from greenroom.store.store import Store
from tests.contract.things_table import tables
from tests.postgres import PostgresServer, make_engine
from tests.waiting import PATIENCE_S

CloseLater = Callable[[Store], Store]


class PublishedEvents(list[Event]):
    """Collects published events."""

    def publish(self, events: Any) -> None:
        self.extend(events)


def open_threadless(url: str, published: PublishedEvents | None = None, **options: Any) -> Store:
    """A store without a writer thread."""
    publish = published.publish if published is not None else lambda events: None
    return Store.open_without_thread(make_engine(url, **options), SystemClock(), tables=tables, publish=publish)


def postgres_engine(store: Store) -> PostgresEngine:
    engine = store._engine
    assert isinstance(engine, PostgresEngine)
    return engine


def writer_pid(store: Store) -> int:
    return postgres_engine(store)._backends[-1].pid


def terminate_writer(store: Store, server: PostgresServer) -> None:
    """Terminate the writer's session, and wait until it has ended."""
    server.run_as_superuser("SELECT pg_terminate_backend(%s, %s)", writer_pid(store), int(1000 * PATIENCE_S))


def database_name(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
