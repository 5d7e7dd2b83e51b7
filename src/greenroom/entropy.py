"""The one place that draws randomness. Knows the machine's source of it; must not know what it is used for."""

import os
import random
from typing import Protocol


class Entropy(Protocol):
    """The port of chance."""

    def token(self, count: int) -> bytes:
        """Draw `count` bytes that nobody can guess."""
        ...

    def fraction(self) -> float:
        """Draw a number in [0, 1), for spreading things in time."""
        ...


class SystemEntropy:
    """This machine's source."""

    def token(self, count: int) -> bytes:
        # What `secrets` gives too, without its three quarters of a megabyte that every waiting agent would hold.
        return os.urandom(count)

    def fraction(self) -> float:
        return random.random()


class SeededEntropy:
    """The same draws for the same seed, for tests and simulation."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()
