"""Fixtures of the contract tests: empty databases of each kind, and stores that are closed after the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from greenroom.store.store import Store
from tests.contract.migration_databases import MigrationDatabase
from tests.contract.postgres_stores import CloseLater
from tests.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def create_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], MigrationDatabase]]:
    """Creates empty databases of one kind, by name."""
    with ExitStack() as stack:

        def create(name: str) -> MigrationDatabase:
            directory = tmp_path / name
            directory.mkdir()
            if request.param == "sqlite":
                return MigrationDatabase(directory)
            return MigrationDatabase(directory, stack.enter_context(request.getfixturevalue("postgres").database()))

        yield create


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as database_url:
        yield database_url


@pytest.fixture
def close_later() -> Iterator[CloseLater]:
    """Returns the store that it is given, and closes it after the test."""
    opened: list[Store] = []

    def track(store: Store) -> Store:
        opened.append(store)
        return store

    yield track
    for store in opened:
        store.close()
