"""Opens stores on PostgreSQL, and ends their sessions."""

from collections.abc import Callable
from typing import Any

import psycopg

from greenroom.clock import SystemClock
from greenroom.domain.event import Event
from greenroom.store.postgres.engine import Postgres
from greenroom.store.store import Store
from tests.contract.things import tables
from tests.postgres import Server, engine_at
from tests.waiting import PATIENCE_S

Closing = Callable[[Store], Store]


class Heard(list[Event]):
    def publish(self, events: Any) -> None:
        self.extend(events)


def still(url: str, heard: Heard | None = None, **more: Any) -> Store:
    """A store without a writer thread."""
    publish = heard.publish if heard is not None else lambda events: None
    return Store.open_still(engine_at(url, **more), SystemClock(), tables=tables, publish=publish)


def engine_of(store: Store) -> Postgres:
    engine = store._engine
    assert isinstance(engine, Postgres)
    return engine


def backend_of(store: Store) -> int:
    return engine_of(store)._backends[-1].pid


def end_writer(store: Store, server: Server) -> None:
    """Terminate the writer's session, and wait until it has ended."""
    server.admin("SELECT pg_terminate_backend(%s, %s)", backend_of(store), int(1000 * PATIENCE_S))


def name_in(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
