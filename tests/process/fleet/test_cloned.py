"""Two daemons run on copies of one machine's data directory: one exits, an alert is raised, and nothing runs twice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

import pytest

from tests.process.fleet.fleet import FREQUENT_HEARTBEATS, REGULAR_HEARTBEATS, MachineFleet
from tests.waiting import wait_until

pytestmark = pytest.mark.process

CONFLICT = 4


@pytest.fixture
def durations() -> Mapping[str, str]:
    return REGULAR_HEARTBEATS


@pytest.fixture
def server_settings() -> Mapping[str, str]:
    return FREQUENT_HEARTBEATS


def test_copied_machine(fleet: MachineFleet) -> None:
    machine = fleet.machines[0]
    run, *_ = fleet.begin_all("until:done")
    assert machine.name == run.machine
    original = machine.daemon
    assert original is not None
    copy = machine.root / "copy"
    shutil.copytree(machine.data_dir, copy)
    clone = machine.launch(data_dir=copy)
    try:
        assert CONFLICT == original.wait()
        assert f"daemon superseded: machine {machine.name}: a newer daemon runs as this machine" in original.err
        assert 2 == fleet.heartbeats()["superseded"], (
            "the first verdict stops it; its leaving heartbeat gets the second"
        )
        assert 1 == fleet.installation.api.count("machine.cloned")
        wait_until(
            lambda: fleet.installation.api.count("alert.raised", id=f"machine_cloned:{machine.name}"),
            "the alert is raised",
        )
        fleet.finish("done")
        fleet.check()
        assert clone.poll() is None
    finally:
        clone.end()
