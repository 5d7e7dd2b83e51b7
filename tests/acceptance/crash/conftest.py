"""Gives a trial a house that remembers in one of the databases. Must not know what befalls it."""

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
    """Durations that only the server has."""
    return {}


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the house remembers: nothing for SQLite in its data directory, else the URL of a new database."""
    if getattr(request, "param", SQLITE) == SQLITE:
        yield ""
        return
    server: Server = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture
def bare(tmp_path: Path, durations: Mapping[str, str], of_server: Mapping[str, str], database: str) -> Iterator[House]:
    """A house in which nothing runs yet."""
    house = House(tmp_path / "house", durations)
    house.of_server = dict(of_server)
    house.store_words = ("--database", database) if database else ()
    yield house
    house.close()


@pytest.fixture
def yard(bare: House) -> House:
    """A house whose server runs, with the room of the crowd."""
    open_yard(bare)
    return bare
