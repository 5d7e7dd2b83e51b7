"""A role's status is shown in a few words with a countdown, and each status has advice with a command."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from greenroom.cli.board import role_row, roles_table
from greenroom.cli.condition import advice, is_late, spell
from greenroom.cli.screen import colour_of, drawn
from greenroom.cli.table import Table, fitted, width_of
from greenroom.clock import instant_of
from greenroom.domain import status as statuses
from greenroom.wire.replies import RoleView
from tests.unit.test_cli_tasks_and_alerts import make_role_view, make_room_view

NOW = 1_760_000_000.0


def make_role(status: str, left_s: float | None = None, **more: Any) -> RoleView:
    until = instant_of(NOW + left_s) if left_s is not None else None
    return msgspec.structs.replace(make_role_view("builder", status), status_until=until, machine="m1", **more)


@pytest.mark.parametrize(
    ("status", "left_s", "text"),
    [
        ("waiting", None, "waiting"),
        ("waiting", 4, "waiting, 4 s left"),
        ("starting", 50, "starting, 50 s left"),
        ("starting", -20, "starting, late by 20 s"),
        ("stopping", -0.6, "stopping, late by 1 s"),
        ("backing_off", 12, "backing_off, restarts in 12 s"),
        ("parked", 250, "parked, probe run in 4 min 10 s"),
        ("parked", None, "parked, until a user restarts it"),
        ("paused", 7200, "paused, restarts in 2 h"),
        ("paused", None, "paused, until a user restarts it"),
    ],
)
def test_status_has_countdown(status: str, left_s: float | None, text: str) -> None:
    assert text == spell(make_role(status, left_s), NOW)
    assert text == role_row(make_role(status, left_s), NOW, {})[1]


def test_late_status_is_marked() -> None:
    assert is_late(make_role("starting", -1), NOW)
    assert not is_late(make_role("starting", 1), NOW)
    assert not is_late(make_role("backing_off", -1), NOW)
    assert ("yellow", "red") == (colour_of("starting, 50 s left"), colour_of("starting, late by 20 s"))
    assert "" == colour_of("a text, late by nature")


@pytest.mark.parametrize(
    ("status", "left_s", "command"),
    [
        ("parked", None, "greenroom agent restart shop/builder"),
        ("parked", 60, "greenroom agent restart shop/builder"),
        ("paused", None, "greenroom agent restart shop/builder"),
        ("backing_off", 5, "greenroom agent restart shop/builder"),
        ("stopped", None, "greenroom agent start shop/builder"),
        ("offline", None, "on machine m1: greenroom daemon start"),
        ("starting", -1, "on machine m1: greenroom doctor"),
        ("starting", 9, "greenroom status --watch"),
        ("unknown", None, "greenroom machine list"),
        ("working", None, "greenroom task show task_1"),
        ("waiting", None, "greenroom send shop TEXT --to builder"),
        ("vacant", None, "greenroom wait-for-task shop --role builder"),
    ],
)
def test_advice_for_each_status(status: str, left_s: float | None, command: str) -> None:
    assert advice("shop", True, make_role(status, left_s), "task_1", NOW).endswith(command)


def test_every_status_has_advice() -> None:
    statuses_defined = {value for name, value in vars(statuses).items() if name.isupper() and isinstance(value, str)}
    assert {"parked", "paused", "starting", "working"} < statuses_defined
    for status in statuses_defined:
        assert "greenroom " in advice("shop", True, make_role(status, kind="remote"), None, NOW), status
    assert "agent start" not in advice("shop", False, make_role("stopped"), None, NOW)


def test_narrow_table_drops_optional_columns() -> None:
    table = roles_table(make_room_view(builder="waiting", reviewer="vacant"), NOW)
    assert table == fitted(table, width_of(table))
    narrow = fitted(table, width_of(table) - 1)
    assert ("ROLE", "STATUS", "SEEN", "MACHINE", "WHY") == narrow.heads
    assert {5} == {len(row) for row in narrow.rows}
    assert ("ROLE", "STATUS", "MACHINE", "WHY") == fitted(table, 10).heads
    plain = Table("", ("A",), [("x" * 50,)])
    assert plain == fitted(plain, 10)


@pytest.mark.parametrize(("width", "is_whole"), [(80, True), (40, False)])
def test_status_stays_on_one_line_if_role_fits(width: int, is_whole: bool) -> None:
    make_role, status = "builder", "backing_off, restarts in 4 min 44 s"
    console = Console(file=io.StringIO(), width=width)
    console.print(drawn(Table("", ("ROLE", "STATUS", "WHY"), [(make_role, status, "it exited with code 7")]), width))
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert (make_role in output, status in output) == (True, is_whole)
