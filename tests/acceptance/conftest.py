"""Fixtures: an installation for each test, and the output of all its processes in the report of a failed test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.house import House


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[House]:
    """An installation in which nothing runs yet."""
    house = House(tmp_path / "house")
    yield house
    house.close()


@pytest.fixture
def house(bare: House) -> House:
    """An installation whose server runs, with an open room."""
    return bare.open()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    house = getattr(item, "funcargs", {}).get("bare")
    if report.failed and isinstance(house, House):
        with suppress(Exception):
            report.sections += house.logs()
    return report
