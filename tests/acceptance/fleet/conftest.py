"""Fixtures: a fleet of machines for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.acceptance.fleet.fleet import DURATIONS, Fleet
from tests.acceptance.house import House

Build = Callable[..., Fleet]


@pytest.fixture
def durations() -> Mapping[str, str]:
    return DURATIONS


@pytest.fixture
def of_server() -> Mapping[str, str]:
    """Settings of the server alone."""
    return {}


@pytest.fixture
def bare(tmp_path: Path, durations: Mapping[str, str], of_server: Mapping[str, str]) -> House:
    """An installation in which nothing runs yet; the fleet that uses it closes it."""
    house = House(tmp_path / "house", durations)
    house.of_server = dict(of_server)
    return house


@pytest.fixture
def build(bare: House) -> Iterator[Build]:
    """A function that makes a fleet of so many machines, in which nothing runs yet."""
    built: list[Fleet] = []

    def make(machines: int = 2, network: str | None = None) -> Fleet:
        built.append(Fleet(bare, machines, network))
        return built[-1]

    yield make
    for fleet in built:
        fleet.close()


@pytest.fixture
def fleet(build: Build) -> Fleet:
    """Two machines with four agents, all of which wait for work."""
    made = build()
    made.open(agents=4)
    return made
