"""Draws random bytes and numbers. All randomness goes through an `Entropy`, so that tests can seed it."""

import os
import random
from typing import Protocol


class Entropy(Protocol):
    """Interface of a source of randomness."""

    def random_bytes(self, count: int) -> bytes:
        """Return `count` unpredictable bytes, for secrets and ids."""
        ...

    def fraction(self) -> float:
        """Return a number in [0, 1), for spreading events in time."""
        ...


class SystemEntropy:
    """The operating system's randomness for bytes, Python's generator for fractions."""

    def random_bytes(self, count: int) -> bytes:
        # `secrets` returns the same, but importing it takes 0.75 MB of memory in every waiting agent.
        return os.urandom(count)

    def fraction(self) -> float:
        return random.random()
