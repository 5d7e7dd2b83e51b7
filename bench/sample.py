"""Median and percentiles of readings."""

from collections.abc import Sequence
from math import ceil
from statistics import median

__all__ = ["median", "percentile"]


def percentile(readings: Sequence[float], percent: float) -> float:
    """The smallest reading that at least `percent` of all readings do not exceed; `ValueError` without readings."""
    if not readings:
        raise ValueError("there is no percentile of no readings")
    ordered = sorted(readings)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]
