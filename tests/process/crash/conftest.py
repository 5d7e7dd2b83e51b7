"""Fixtures: an installation on one of the databases, with the room of the load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.postgres import PostgresServer
from tests.process.crash.load_room import PATIENT_DURATIONS, SQLITE, open_load_room
from tests.process.installation import Installation


@pytest.fixture
def durations() -> Mapping[str, str]:
    return PATIENT_DURATIONS


@pytest.fixture
def server_settings() -> Mapping[str, str]:
    """Settings of the server alone."""
    return {}


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new PostgreSQL database; empty for SQLite in the data directory."""
    if getattr(request, "param", SQLITE) == SQLITE:
        yield ""
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture
def bare(
    tmp_path: Path, durations: Mapping[str, str], server_settings: Mapping[str, str], database: str
) -> Iterator[Installation]:
    """An installation in which nothing runs yet."""
    installation = Installation(tmp_path / "installation", durations)
    installation.server_settings = dict(server_settings)
    installation.database_arguments = ("--database", database) if database else ()
    yield installation
    installation.close()


@pytest.fixture
def installation(bare: Installation) -> Installation:
    """An installation whose server runs, with the room of the load."""
    open_load_room(bare)
    return bare
