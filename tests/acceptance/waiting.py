"""Knows how a test waits: for a condition, with a deadline, and with words for its failure. Must not know Greenroom."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY_S = 0.05
PATIENCE_S = 25.0
"""How long a condition may take that no promise bounds: the machine is shared, and noisy."""

Seen = TypeVar("Seen")


class NotYet(Exception):
    """What a look raises to say what it saw instead."""


def wait_until(look: Callable[[], Seen], what: str, deadline_s: float = PATIENCE_S) -> Seen:
    """Look until there is something to see, and return it. A look may raise NotYet, or find nobody there (OSError)."""
    ends_at = time.monotonic() + deadline_s
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
            raise AssertionError(f"within {deadline_s:g} s it did not come to this: {what}. Seen last: {saw!r}")
        time.sleep(LOOK_EVERY_S)


def stays(look: Callable[[], Seen], what: str, for_s: float) -> None:
    """Look for so long that something stays as it is."""
    ends_at = time.monotonic() + for_s
    while time.monotonic() < ends_at:
        found = look()
        assert found, f"it did not stay so: {what}. Seen: {found!r}"
        time.sleep(LOOK_EVERY_S)
