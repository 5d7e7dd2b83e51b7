"""The disk is full and later has space again: no partial writes, no expired participant, no restart needed."""

from __future__ import annotations

import random
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.process.crash.api_connection import ApiConnection
from tests.process.crash.audit import Auditor
from tests.process.crash.heartbeat_client import HeartbeatClient
from tests.process.crash.load_generator import HEARTBEAT_ROLE, ROOM, LoadGenerator
from tests.process.crash.load_room import check_file, open_load_room
from tests.process.installation import Installation
from tests.waiting import wait_until

pytestmark = pytest.mark.process

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
DISK_MB = 64


def limit_files(installation: Installation) -> None:
    """Limit the server's files to the present size of the larger of its database's files."""
    assert installation.server is not None
    sizes = [path.stat().st_size for path in installation.data_dir.glob("greenroom.db*")]
    resource.prlimit(installation.server.pid, resource.RLIMIT_FSIZE, (max(sizes), resource.RLIM_INFINITY))


def free_files(installation: Installation) -> None:
    assert installation.server is not None
    resource.prlimit(installation.server.pid, resource.RLIMIT_FSIZE, UNLIMITED)


def check_full_disk(
    installation: Installation, fill: Callable[[], None], free: Callable[[], None], times: int, seed: int
) -> None:
    """Fill the disk under load and free it, so many times; then compare the state with every answer."""
    rng = random.Random(seed)
    load = LoadGenerator(lambda: ApiConnection(installation.url, installation.token), seed)
    auditor = Auditor(installation.api, ROOM, load.request_log)
    with HeartbeatClient(ApiConnection(installation.url, installation.token), ROOM, HEARTBEAT_ROLE) as heartbeat_client:
        load.start()
        try:
            for _ in range(times):
                load.wait_for_answers(30)
                fill()
                wait_for_refusals(load, more=20)
                assert 200 == installation.api.call("GET", f"rooms/{ROOM}/tasks").status, "reads are still served"
                time.sleep(rng.uniform(0, 0.5))
                free()
                load.wait_for_answers(50)
                auditor.check_log()
        finally:
            free()
            load.stop()
    with closing(ApiConnection(installation.url, installation.token)) as connection:
        auditor.repeat_all(connection)
    auditor.audit()
    print(
        f"full {times} times (seed {seed}): {load.request_log.summary()};"
        f" slowest of {len(heartbeat_client.statuses)} beats {heartbeat_client.slowest_s:.2f} s"
    )
    assert {"ok"} == set(heartbeat_client.statuses)
    assert 1 == len(auditor.events_of("server.started")), "the server was never restarted"
    assert [] == auditor.events_of("participant.expired")


def wait_for_refusals(load: LoadGenerator, more: int) -> None:
    """Wait until so many more requests are refused."""
    wanted = load.request_log.refusals + more
    wait_until(lambda: load.request_log.refusals >= wanted, "writes are refused")


def test_full_disk_refuses_writes_until_freed(installation: Installation) -> None:
    check_full_disk(installation, lambda: limit_files(installation), lambda: free_files(installation), times=2, seed=3)
    check_file(installation)


def test_writes_refused_on_full_disk_are_absent_after_crash(installation: Installation) -> None:
    load = LoadGenerator(lambda: ApiConnection(installation.url, installation.token), seed=4)
    load.start()
    try:
        load.wait_for_answers(30)
        limit_files(installation)
        wait_for_refusals(load, more=20)
        assert installation.server is not None
        installation.server.kill()
        installation.start_server()
        load.wait_for_answers(50)
    finally:
        load.stop()
    Auditor(installation.api, ROOM, load.request_log).audit()


@pytest.mark.prove
def test_disk_full_thirty_times(installation: Installation) -> None:
    check_full_disk(
        installation, lambda: limit_files(installation), lambda: free_files(installation), times=30, seed=33
    )
    check_file(installation)


@pytest.fixture
def own_disk(bare: Installation) -> Iterator[Path]:
    """A small disk mounted as the data directory."""
    bare.data_dir.mkdir()
    arguments = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(bare.data_dir)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    yield bare.data_dir
    bare.close()
    subprocess.run(["umount", str(bare.data_dir)], check=True)


@pytest.mark.prove
def test_full_tmpfs(bare: Installation, own_disk: Path) -> None:
    def fill() -> None:
        with (own_disk / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free() -> None:
        (own_disk / "ballast").unlink(missing_ok=True)

    open_load_room(bare)
    check_full_disk(bare, fill, free, times=10, seed=34)
    check_file(bare)
