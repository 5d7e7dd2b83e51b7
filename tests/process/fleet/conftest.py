"""Fixtures: a fleet of machines for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.process.fleet.fleet import DURATIONS, MachineFleet
from tests.process.installation import Installation

BuildFleet = Callable[..., MachineFleet]


@pytest.fixture
def durations() -> Mapping[str, str]:
    return DURATIONS


@pytest.fixture
def server_settings() -> Mapping[str, str]:
    """Settings of the server alone."""
    return {}


@pytest.fixture
def bare(tmp_path: Path, durations: Mapping[str, str], server_settings: Mapping[str, str]) -> Installation:
    """An installation in which nothing runs yet; the fleet that uses it closes it."""
    installation = Installation(tmp_path / "installation", durations)
    installation.server_settings = dict(server_settings)
    return installation


@pytest.fixture
def build_fleet(bare: Installation) -> Iterator[BuildFleet]:
    """A function that makes a fleet of so many machines, in which nothing runs yet."""
    built: list[MachineFleet] = []

    def make(machines: int = 2, network: str | None = None) -> MachineFleet:
        built.append(MachineFleet(bare, machines, network))
        return built[-1]

    yield make
    for fleet in built:
        fleet.close()


@pytest.fixture
def fleet(build_fleet: BuildFleet) -> MachineFleet:
    """Two machines with four agents, all of which wait for work."""
    made = build_fleet()
    made.start(agents=4)
    return made
