"""The arithmetic and the layout of the benchmark's tables."""

import pytest

from bench.sample import percentile
from bench.table import Comparison, Goal, Row, SystemTable, draw_rows, format_number


def make_row(figure: float = 30_000.0, beside: Comparison | None = None, goal: Goal | None = None) -> Row:
    return Row(label="beats", figure=figure, unit="requests/s", comparison=beside, goal=goal)


def test_ratio_to_comparison_figure() -> None:
    assert 0.75 == make_row(beside=Comparison("an echo", 40_000.0)).ratio


@pytest.mark.parametrize("beside", [None, Comparison("an echo", 0.0)])
def test_no_ratio_without_comparison(beside: Comparison | None) -> None:
    assert make_row(beside=beside).ratio is None


@pytest.mark.parametrize(
    ("goal", "is_met"),
    [
        (Goal(">=", 30_000), True),
        (Goal(">=", 30_001), False),
        (Goal("<=", 30_000), True),
        (Goal("<=", 29_999), False),
        (Goal(">=", 0.75, "ratio"), True),
        (Goal(">=", 0.76, "ratio"), False),
        (Goal("<=", 0.75, "ratio"), True),
        (None, None),
    ],
)
def test_goal_is_judged_by_its_figure(goal: Goal | None, is_met: bool | None) -> None:
    assert is_met is make_row(beside=Comparison("an echo", 40_000.0), goal=goal).is_met


def test_missing_ratio_leaves_goal_unjudged() -> None:
    assert make_row(goal=Goal(">=", 0.6, "ratio")).is_met is None


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.605, "0.605"),
        (1.234, "1.23"),
        (61.28, "61.3"),
        (999.4, "999"),
        (1_234, "1,230"),
        (28_449, "28,400"),
        (28_450.1, "28,500"),
        (999_999, "1,000,000"),
    ],
)
def test_numbers_have_three_significant_digits(number: float, text: str) -> None:
    assert text == format_number(number)


def test_table_is_aligned_markdown() -> None:
    rows = [
        make_row(goal=Goal(">=", 40_000)),
        make_row(beside=Comparison("an echo", 40_000.0), goal=Goal(">=", 0.6, "ratio")),
    ]
    lines = draw_rows(rows).splitlines()
    assert 4 == len(lines)
    assert 1 == len({len(line) for line in lines})
    assert {7} == {line.count("|") for line in lines}
    assert ["beats", "30,000 requests/s", "", "", ">= 40,000", "NO"] == split_cells(lines[2])
    assert "40,000 requests/s: an echo" == split_cells(lines[3])[2]
    assert ["0.75", "ratio >= 0.600", "yes"] == split_cells(lines[3])[3:]


def split_cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_percentile_is_a_reading() -> None:
    readings = [float(number) for number in range(1, 101)]
    assert [50.0, 99.0, 100.0, 1.0] == [percentile(readings, percent) for percent in (50, 99, 100, 0)]
    assert 3.0 == percentile([3.0], 50)


def test_percentile_needs_readings() -> None:
    with pytest.raises(ValueError, match="no readings"):
        percentile([], 50)


def test_grid_has_one_line_per_system() -> None:
    lines = str(SystemTable(("system", "tasks/s"), (("ours", "1,230"), ("a peer with a name", "77")))).splitlines()
    assert 4 == len(lines)
    assert "| ours               |   1,230 |" == lines[2]
    assert "| ------------------ | ------: |" == lines[1]
