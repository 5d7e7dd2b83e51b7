"""Fixtures: an installation for each test, and the output of all its processes in the report of a failed test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.process.installation import Installation


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Installation]:
    """An installation in which nothing runs yet."""
    installation = Installation(tmp_path / "installation")
    yield installation
    installation.close()


@pytest.fixture
def installation(bare: Installation) -> Installation:
    """An installation whose server runs, with an open room."""
    return bare.start_with_room()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    installation = getattr(item, "funcargs", {}).get("bare")
    if report.failed and isinstance(installation, Installation):
        with suppress(Exception):
            report.sections += installation.logs()
    return report
