"""A fleet that is closed in mid-fault leaves nothing on this computer: no process, no network namespace, no device."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.fleet import SHORT_LEASES, kill, leader_of
from tests.process.processes import find_processes

pytestmark = pytest.mark.process


@pytest.fixture
def durations() -> Mapping[str, str]:
    """Requests over a cut network time out soon."""
    return SHORT_LEASES


def network_names() -> set[str]:
    """The names of the network namespaces and devices that exist now."""
    found: set[str] = set()
    for arguments in (("netns", "list"), ("-brief", "link")):
        with_names = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False).stdout
        found |= {line.split()[0].partition("@")[0] for line in with_names.splitlines() if line.strip()}
    return found


def test_closed_fleet_leaves_no_process_and_no_network(build_fleet: BuildFleet) -> None:
    fleet = build_fleet()
    fleet.start(agents=4)
    killed, wrapped, *_ = fleet.begin_all("fork until:never")
    mark = str(fleet.installation.root)
    own = {name for name in network_names() if name.startswith(fleet.network.names)}
    fleet.machines[0].link.cut()
    fleet.machines[1].suspend()
    kill(killed.pid, leader_of(wrapped))
    assert len(find_processes(mark)) > 8
    fleet.close()
    assert {} == find_processes(mark)
    assert set() == own & network_names()
