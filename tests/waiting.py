"""Waits for conditions in tests, with one timeout that only a hang can reach.

A test asserts what becomes true and in which order, never how fast, so that it does not fail on a slow or busy machine.
`PATIENCE_S` is the only timeout; `tests/architecture` rejects every other number.
Durations are measured in `bench/`, and printed by `make prove`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY_S = 0.05
PATIENCE_S = 300.0
"""Seconds after which a wait counts as hung: many times what the slowest wait takes on a busy machine."""

Seen = TypeVar("Seen")


class NotYet(Exception):
    """Raised by a polled function to report the state that it found instead."""


def wait_until(look: Callable[[], Seen | None], what: str, look_every_s: float = LOOK_EVERY_S) -> Seen:
    """Call `look` until it returns something true, and return that. `look` may raise NotYet or OSError meanwhile.

    Raises AssertionError with `what` and the last result after PATIENCE_S.
    """
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        saw: object
        try:
            found = look()
            if found:
                return found
            saw = found
        except (NotYet, OSError) as error:
            saw = error
        if time.monotonic() >= ends_at:
            raise AssertionError(f"timed out after {PATIENCE_S:g} s: {what}. Last result: {saw!r}")
        time.sleep(look_every_s)


def stays(look: Callable[[], Seen], what: str, for_s: float) -> None:
    """Assert that `look` returns something true for at least `for_s` seconds."""
    ends_at = time.monotonic() + for_s
    while True:
        found = look()
        assert found, f"did not stay true: {what}. Result: {found!r}"
        if time.monotonic() >= ends_at:
            return
        time.sleep(LOOK_EVERY_S)
