"""The arithmetic and the layout of the benchmark's tables."""

import pytest

from bench.sample import percentile
from bench.table import Beside, Goal, Grid, Row, draw, spell


def row(figure: float = 30_000.0, beside: Beside | None = None, goal: Goal | None = None) -> Row:
    return Row(what="beats", figure=figure, unit="requests/s", beside=beside, goal=goal)


def test_a_ratio_is_the_figure_over_what_stands_beside_it() -> None:
    assert 0.75 == row(beside=Beside("an echo", 40_000.0)).ratio


@pytest.mark.parametrize("beside", [None, Beside("an echo", 0.0)])
def test_there_is_no_ratio_to_nothing(beside: Beside | None) -> None:
    assert row(beside=beside).ratio is None


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
def test_a_goal_is_judged_by_what_it_is_a_goal_of(goal: Goal | None, is_met: bool | None) -> None:
    assert is_met is row(beside=Beside("an echo", 40_000.0), goal=goal).is_met


def test_a_goal_for_a_ratio_that_is_not_there_is_neither_met_nor_missed() -> None:
    assert row(goal=Goal(">=", 0.6, "ratio")).is_met is None


@pytest.mark.parametrize(
    ("number", "spelled"),
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
def test_numbers_keep_three_digits_that_count(number: float, spelled: str) -> None:
    assert spelled == spell(number)


def test_the_table_is_markdown_with_one_line_for_each_row() -> None:
    rows = [row(goal=Goal(">=", 40_000)), row(beside=Beside("an echo", 40_000.0), goal=Goal(">=", 0.6, "ratio"))]
    lines = draw(rows).splitlines()
    assert 4 == len(lines)
    assert 1 == len({len(line) for line in lines})
    assert {7} == {line.count("|") for line in lines}
    assert ["beats", "30,000 requests/s", "", "", ">= 40,000", "NO"] == cells_of(lines[2])
    assert "40,000 requests/s: an echo" == cells_of(lines[3])[2]
    assert ["0.75", "ratio >= 0.600", "yes"] == cells_of(lines[3])[3:]


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_percentile_is_one_of_the_readings() -> None:
    readings = [float(number) for number in range(1, 101)]
    assert [50.0, 99.0, 100.0, 1.0] == [percentile(readings, percent) for percent in (50, 99, 100, 0)]
    assert 3.0 == percentile([3.0], 50)


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no readings"):
        percentile([], 50)


def test_a_grid_has_a_line_for_each_system_with_its_figures_to_the_right() -> None:
    lines = str(Grid(("system", "tasks/s"), (("ours", "1,230"), ("a peer with a name", "77")))).splitlines()
    assert 4 == len(lines)
    assert "| ours               |   1,230 |" == lines[2]
    assert "| ------------------ | ------: |" == lines[1]
