"""Waits for conditions in tests, with one timeout that only a hang can reach.

A test asserts what becomes true and in which order, never how fast, so that it does not fail on a slow or busy machine.
`PATIENCE_S` is the only timeout; `tests/architecture` rejects every other number.
Durations are measured in `bench/`, and printed by `make prove`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

POLL_INTERVAL_S = 0.05
PATIENCE_S = 300.0
"""Seconds after which a wait counts as hung: many times what the slowest wait takes on a busy machine."""

Result = TypeVar("Result")


class NotYet(Exception):
    """Raised by a polled function to report the state that it found instead."""


def wait_until(
    probe: Callable[[], Result | None], description: str, poll_interval_s: float = POLL_INTERVAL_S
) -> Result:
    """Call `probe` until it returns something true, and return that. `probe` may raise NotYet or OSError meanwhile.

    Raises AssertionError with `description` and the last result after PATIENCE_S.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        last_result: object
        try:
            result = probe()
            if result:
                return result
            last_result = result
        except (NotYet, OSError) as error:
            last_result = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"timed out after {PATIENCE_S:g} s: {description}. Last result: {last_result!r}")
        time.sleep(poll_interval_s)


def assert_stays_true(probe: Callable[[], Result], description: str, duration_s: float) -> None:
    """Assert that `probe` returns something true for at least `duration_s` seconds."""
    deadline = time.monotonic() + duration_s
    while True:
        result = probe()
        assert result, f"did not stay true: {description}. Result: {result!r}"
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL_INTERVAL_S)
