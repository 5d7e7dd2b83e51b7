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

from tests.acceptance.crash.audit import Auditor
from tests.acceptance.crash.beating import Beater
from tests.acceptance.crash.crowd import ROOM, WATCHER, Crowd
from tests.acceptance.crash.line import Line
from tests.acceptance.crash.yard import check_file, open_yard
from tests.acceptance.house import House
from tests.waiting import wait_until

pytestmark = pytest.mark.process

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
DISK_MB = 64


def limit_files(house: House) -> None:
    """Limit the server's files to the present size of the larger of its database's files."""
    assert house.server is not None
    sizes = [path.stat().st_size for path in house.data_dir.glob("greenroom.db*")]
    resource.prlimit(house.server.pid, resource.RLIMIT_FSIZE, (max(sizes), resource.RLIM_INFINITY))


def free_files(house: House) -> None:
    assert house.server is not None
    resource.prlimit(house.server.pid, resource.RLIMIT_FSIZE, UNLIMITED)


def endure(house: House, fill: Callable[[], None], free: Callable[[], None], times: int, seed: int) -> None:
    """Fill the disk under load and free it, so many times; then compare the state with every answer."""
    rng = random.Random(seed)
    crowd = Crowd(lambda: Line(house.url, house.token), seed)
    auditor = Auditor(house.api, ROOM, crowd.ledger)
    with Beater(Line(house.url, house.token), ROOM, WATCHER) as beater:
        crowd.start()
        try:
            for _ in range(times):
                crowd.goes_on(30)
                fill()
                is_refused(crowd, more=20)
                assert 200 == house.api.call("GET", f"rooms/{ROOM}/tasks").status, "reads are still served"
                time.sleep(rng.uniform(0, 0.5))
                free()
                crowd.goes_on(50)
                auditor.look()
        finally:
            free()
            crowd.stop()
    with closing(Line(house.url, house.token)) as line:
        auditor.repeat_all(line)
    auditor.audit()
    print(
        f"full {times} times (seed {seed}): {crowd.ledger.figures()}; slowest of {len(beater.statuses)} beats"
        f" {beater.slowest_s:.2f} s"
    )
    assert {"ok"} == set(beater.statuses)
    assert 1 == len(auditor.of_type("server.started")), "the server was never restarted"
    assert [] == auditor.of_type("participant.expired")


def is_refused(crowd: Crowd, more: int) -> None:
    """Wait until so many more requests are refused."""
    wanted = crowd.ledger.refusals + more
    wait_until(lambda: crowd.ledger.refusals >= wanted, "writes are refused")


def test_a_full_disk_refuses_and_a_freed_one_takes_again(yard: House) -> None:
    endure(yard, lambda: limit_files(yard), lambda: free_files(yard), times=2, seed=3)
    check_file(yard)


def test_what_a_full_disk_refused_is_not_there_after_a_crash(yard: House) -> None:
    crowd = Crowd(lambda: Line(yard.url, yard.token), seed=4)
    crowd.start()
    try:
        crowd.goes_on(30)
        limit_files(yard)
        is_refused(crowd, more=20)
        assert yard.server is not None
        yard.server.kill()
        yard.start_server()
        crowd.goes_on(50)
    finally:
        crowd.stop()
    Auditor(yard.api, ROOM, crowd.ledger).audit()


@pytest.mark.prove
def test_a_disk_that_is_full_again_and_again(yard: House) -> None:
    endure(yard, lambda: limit_files(yard), lambda: free_files(yard), times=30, seed=33)
    check_file(yard)


@pytest.fixture
def own_disk(bare: House) -> Iterator[Path]:
    """A small disk mounted as the data directory."""
    bare.data_dir.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(bare.data_dir)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    yield bare.data_dir
    bare.close()
    subprocess.run(["umount", str(bare.data_dir)], check=True)


@pytest.mark.prove
def test_a_disk_that_is_really_full(bare: House, own_disk: Path) -> None:
    def fill() -> None:
        with (own_disk / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free() -> None:
        (own_disk / "ballast").unlink(missing_ok=True)

    open_yard(bare)
    endure(bare, fill, free, times=10, seed=34)
    check_file(bare)
