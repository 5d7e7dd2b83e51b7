"""A role's status is shown in a few words with a countdown, and each status has advice with a command."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from greenroom.cli.live_screen import cell_colour, render_table
from greenroom.cli.status_tables import advise, format_status, is_late, role_row, roles_table
from greenroom.cli.table import Table, fit_table, table_width
from greenroom.clock import format_instant
from greenroom.domain import role_status as statuses
from greenroom.wire.replies import RoleView
from tests.unit.test_cli_tasks_and_alerts import make_role_view, make_room_view

NOW = 1_760_000_000.0


def make_role(status: str, left_s: float | None = None, **more: Any) -> RoleView:
    until = format_instant(NOW + left_s) if left_s is not None else None
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
        ("crash_looping", 250, "crash_looping, probe run in 4 min 10 s"),
        ("crash_looping", None, "crash_looping, until a user restarts it"),
        ("paused", 7200, "paused, restarts in 2 h"),
        ("paused", None, "paused, until a user restarts it"),
    ],
)
def test_status_has_countdown(status: str, left_s: float | None, text: str) -> None:
    assert text == format_status(make_role(status, left_s), NOW)
    assert text == role_row(make_role(status, left_s), NOW, {})[1]


def test_late_status_is_marked() -> None:
    assert is_late(make_role("starting", -1), NOW)
    assert not is_late(make_role("starting", 1), NOW)
    assert not is_late(make_role("backing_off", -1), NOW)
    assert ("yellow", "red") == (cell_colour("starting, 50 s left"), cell_colour("starting, late by 20 s"))
    assert "" == cell_colour("a text, late by nature")


@pytest.mark.parametrize(
    ("status", "left_s", "command"),
    [
        ("crash_looping", None, "greenroom agent restart shop/builder"),
        ("crash_looping", 60, "greenroom agent restart shop/builder"),
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
    assert advise("shop", True, make_role(status, left_s), "task_1", NOW).endswith(command)


def test_every_status_has_advice() -> None:
    statuses_defined = {value for name, value in vars(statuses).items() if name.isupper() and isinstance(value, str)}
    assert {"crash_looping", "paused", "starting", "working"} < statuses_defined
    for status in statuses_defined:
        assert "greenroom " in advise("shop", True, make_role(status, kind="remote"), None, NOW), status
    assert "agent start" not in advise("shop", False, make_role("stopped"), None, NOW)


def test_narrow_table_drops_optional_columns() -> None:
    table = roles_table(make_room_view(builder="waiting", reviewer="vacant"), NOW)
    assert table == fit_table(table, table_width(table))
    narrow = fit_table(table, table_width(table) - 1)
    assert ("ROLE", "STATUS", "SEEN", "MACHINE", "WHY") == narrow.headers
    assert {5} == {len(row) for row in narrow.rows}
    assert ("ROLE", "STATUS", "MACHINE", "WHY") == fit_table(table, 10).headers
    plain = Table("", ("A",), [("x" * 50,)])
    assert plain == fit_table(plain, 10)


@pytest.mark.parametrize(("width", "is_whole"), [(80, True), (40, False)])
def test_status_stays_on_one_line_if_role_fits(width: int, is_whole: bool) -> None:
    make_role, status = "builder", "backing_off, restarts in 4 min 44 s"
    console = Console(file=io.StringIO(), width=width)
    console.print(
        render_table(Table("", ("ROLE", "STATUS", "WHY"), [(make_role, status, "it exited with code 7")]), width)
    )
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert (make_role in output, status in output) == (True, is_whole)
