"""Durations and sizes as the command line prints them."""

import pytest

from greenroom.cli.terminal import format_duration, format_size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (7_200, "2 h"),
        (7_205, "2 h"),
        (3_600 + 59 * 60 + 59, "1 h 59 min"),
        (3 * 86_400 + 4 * 3_600, "3 d 4 h"),
    ],
)
def test_duration_has_two_largest_units(seconds: float, text: str) -> None:
    assert text == format_duration(seconds)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")])
def test_size_has_fitting_unit(count: int, text: str) -> None:
    assert text == format_size(count)
