"""A machine's or the server's disk is full for a while: no result is lost, and all work continues."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.fleet import (
    BACKOFF_S_MAX,
    FREQUENT_HEARTBEATS,
    REGULAR_HEARTBEATS,
    ROUND_TRIPS_S,
    MachineFleet,
    kill,
)
from tests.process.fleet.recovery import report
from tests.waiting import wait_until

pytestmark = pytest.mark.process

DISK_MB = 24
BEATS = 2
"""Heartbeats of each machine on a full disk: one may have been under way before."""
Mount = Callable[[Path], "Disk"]


@pytest.fixture
def durations() -> Mapping[str, str]:
    return REGULAR_HEARTBEATS


@pytest.fixture
def server_settings() -> Mapping[str, str]:
    return FREQUENT_HEARTBEATS


class Disk:
    """A small disk that is mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        arguments = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(folder)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self._folder)], check=True)


@pytest.fixture
def mount() -> Iterator[Mount]:
    """A function that mounts disks. Request it before the fleet, so that they are unmounted after the fleet."""
    mounted: list[Disk] = []

    def make(folder: Path) -> Disk:
        mounted.append(Disk(folder))
        return mounted[-1]

    yield make
    for disk in mounted:
        disk.unmount()


def check_full_disk(fleet: MachineFleet, disk: Disk) -> None:
    """Let one run finish and kill one on a full disk; free the disk, and assert which attempts were accepted."""
    tasks = [fleet.send(role, f"until:{gate}") for role, gate in zip(fleet.roles, "abcc", strict=True)]
    ends, killed, *_ = [fleet.diaries.wait_for(task) for task in tasks]
    disk.fill()
    try:
        fleet.diaries.open_gate("a")
        kill(killed.pid)
        wait_until(lambda: fleet.diaries.runs(ends.task)[0].end, "a run ends on a full disk")
        wait_for_heartbeats(fleet)
        assert not fleet.diaries.runs(killed.task, 2), "no run begins that cannot be recorded"
    finally:
        disk.free()
    recovered_s = fleet.wait_until_recovered(time.monotonic())
    report("a full disk freed: all at work again", recovered_s, BACKOFF_S_MAX + ROUND_TRIPS_S)
    accepted = fleet.finish("b", "c")
    assert [[1], [2], [1], [1]] == [accepted[role] for role in fleet.roles]
    fleet.check()


def wait_for_heartbeats(fleet: MachineFleet) -> None:
    """Wait until so many heartbeats of each machine from now on were answered."""
    for _ in range(BEATS):
        before = [machine.last_seen_at for machine in fleet.machines]
        wait_until(partial(all_have_beaten, fleet, before), "all machines stay online")


def all_have_beaten(fleet: MachineFleet, before: Sequence[str]) -> bool:
    """Return whether each machine is online and its last heartbeat is newer than before."""
    pairs = zip(fleet.machines, before, strict=True)
    return all(machine.is_connected() and machine.last_seen_at > at for machine, at in pairs)


def test_full_disk_of_machine(mount: Mount, build_fleet: BuildFleet) -> None:
    """All agents that work run on the machine whose disk is full."""
    fleet = build_fleet()
    disk = mount(fleet.machines[0].data_dir)
    fleet.start(agents=4, on=fleet.machines[:1])
    check_full_disk(fleet, disk)


def test_full_disk_of_server(mount: Mount, build_fleet: BuildFleet) -> None:
    fleet = build_fleet()
    disk = mount(fleet.installation.data_dir)
    fleet.start(agents=4)
    check_full_disk(fleet, disk)
