"""A fleet that is closed in mid-fault leaves nothing on this computer: no process, no network namespace, no device."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from tests.acceptance.fleet.conftest import Build
from tests.acceptance.fleet.fleet import LAPSING, kill, leader_of
from tests.acceptance.processes import with_mark

pytestmark = pytest.mark.process


@pytest.fixture
def durations() -> Mapping[str, str]:
    """Requests over a cut network time out soon."""
    return LAPSING


def standing() -> set[str]:
    """The names of the network namespaces and devices that exist now."""
    found: set[str] = set()
    for words in (("netns", "list"), ("-brief", "link")):
        with_names = subprocess.run(["ip", *words], capture_output=True, text=True, check=False).stdout
        found |= {line.split()[0].partition("@")[0] for line in with_names.splitlines() if line.strip()}
    return found


def test_of_a_fleet_that_was_killed_and_cut_off(build: Build) -> None:
    fleet = build()
    fleet.open(agents=4)
    killed, wrapped, *_ = fleet.begin_all("fork until:never")
    mark = str(fleet.house.root)
    own = {name for name in standing() if name.startswith(fleet.network.names)}
    fleet.machines[0].place.cut()
    fleet.machines[1].freeze()
    kill(killed.pid, leader_of(wrapped))
    assert len(with_mark(mark)) > 8
    fleet.close()
    assert {} == with_mark(mark)
    assert set() == own & standing()
