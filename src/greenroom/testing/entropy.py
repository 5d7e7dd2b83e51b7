"""Randomness from a seed. It stands in for the system's wherever an `Entropy` is expected."""

import random


class SeededEntropy:
    """Returns the same values for the same seed, for tests and simulation."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()
