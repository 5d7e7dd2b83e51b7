"""Fixtures: an installation on one of the databases, with the room of the load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.crash.yard import SQLITE, UNHURRIED, open_yard
from tests.acceptance.house import House
from tests.postgres import Server


@pytest.fixture
def durations() -> Mapping[str, str]:
    return UNHURRIED


@pytest.fixture
def of_server() -> Mapping[str, str]:
    """Settings of the server alone."""
    return {}


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new PostgreSQL database; empty for SQLite in the data directory."""
    if getattr(request, "param", SQLITE) == SQLITE:
        yield ""
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture
def bare(tmp_path: Path, durations: Mapping[str, str], of_server: Mapping[str, str], database: str) -> Iterator[House]:
    """An installation in which nothing runs yet."""
    house = House(tmp_path / "house", durations)
    house.of_server = dict(of_server)
    house.store_words = ("--database", database) if database else ()
    yield house
    house.close()


@pytest.fixture
def yard(bare: House) -> House:
    """An installation whose server runs, with the room of the load."""
    open_yard(bare)
    return bare
