"""What the server logs about a failure: where it happened, and no values of variables."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from greenroom.server.logs import log_to_stderr


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, greenroom_logger = logging.root, logging.getLogger("greenroom")
    before = root.handlers, root.level, greenroom_logger.level
    yield
    root.handlers, root.level = before[0], before[1]
    greenroom_logger.setLevel(before[2])


def fail_over(token: str) -> None:
    raise ValueError(f"of {len(token)} characters")


def test_traceback_has_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    try:
        fail_over("grt_" + "x" * 30)
    except ValueError:
        logging.getLogger("greenroom.server").exception("it failed")
    output = capsys.readouterr().err
    assert "ValueError: of 34 characters" in output
    assert "in fail_over" in output
    assert "xxx" not in output
