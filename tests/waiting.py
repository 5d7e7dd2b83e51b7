"""How a test waits: for a condition, with a limit that only a hang can meet, and with words for its failure.

A test says what has to come true and in which order, never how fast: a machine that is slow, or busy with something
else, makes it late and not red. `PATIENCE_S` is the one limit; `tests/architecture` refuses every other number.
How fast something is stands in `bench/`, and in the figures that `make prove` prints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_EVERY_S = 0.05
PATIENCE_S = 300.0
"""Seconds after which something counts as hung: many times what the slowest wait takes on a busy machine."""

Seen = TypeVar("Seen")


class NotYet(Exception):
    """What a look raises to say what it saw instead."""


def wait_until(look: Callable[[], Seen | None], what: str, look_every_s: float = LOOK_EVERY_S) -> Seen:
    """Look until there is something to see, and return it. A look may raise NotYet, or find nobody there (OSError).

    Raises AssertionError with `what` and what was seen last where it hangs.
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
            raise AssertionError(f"hung: after {PATIENCE_S:g} s it is still not so: {what}. Seen last: {saw!r}")
        time.sleep(look_every_s)


def stays(look: Callable[[], Seen], what: str, for_s: float) -> None:
    """Look for at least so many seconds that something stays as it is."""
    ends_at = time.monotonic() + for_s
    while True:
        found = look()
        assert found, f"it did not stay so: {what}. Seen: {found!r}"
        if time.monotonic() >= ends_at:
            return
        time.sleep(LOOK_EVERY_S)
