"""A slow start of `greenroom up`: what it prints meanwhile, and when it gives up."""

import io
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.cli.child_process import ChildProcess
from greenroom.cli.up import READY_S_MAX, WAIT_REPORT_INTERVAL_S, LocalServices
from greenroom.exit_codes import ExitCode
from greenroom.file_lock import WAITING, acquire_lock
from greenroom.settings import paths
from greenroom.testing import MovedClock
from tests.unit.agent_commands import make_settings

UP_S = 60.0


class ClockMovingWait:
    """Replaces the event that is set at the end: each wait moves the clock by 1 s and writes the files that are due."""

    def __init__(self, clock: MovedClock) -> None:
        self.clock = clock
        self.due: dict[float, Path] = {}

    def wait(self, timeout: float) -> bool:
        self.clock.advance(1.0)
        for at, path in list(self.due.items()):
            if self.clock.monotonic() >= at:
                path.write_text("http://127.0.0.1:1\n")
        return False

    def set(self) -> None:
        return


class UpStart:
    """One start under a moved clock, whose child processes are not started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out, self.err = io.StringIO(), io.StringIO()
        self.clock = MovedClock()
        arguments = Namespace(say=[], listen=None)
        self.services = LocalServices(
            arguments, make_settings("http://127.0.0.1:1", folder), self.out, self.err, self.clock
        )
        self.wait = ClockMovingWait(self.clock)
        self.services._is_closing = self.wait  # type: ignore[assignment]

    def lines(self) -> list[str]:
        return self.err.getvalue().splitlines()


@pytest.fixture
def up_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UpStart]:
    monkeypatch.setattr(ChildProcess, "start", lambda child: None)
    start = UpStart(tmp_path)
    yield start
    os.close(start.services._leash)
    os.close(start.services._held)


def test_slow_start_is_reported(up_start: UpStart) -> None:
    up_start.wait.due[up_start.clock.monotonic() + UP_S] = paths.server_url(up_start.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("greenroom.client.api_client.ApiClient.healthz", lambda session: None)
        up_start.services._wait_for_server()
    waits = [f"up: still starting after {at} s: the server has not reported its address" for at in range(10, 60, 10)]
    assert waits == [line for line in up_start.lines() if "still starting" in line]


def test_hanging_start_is_given_up(up_start: UpStart) -> None:
    up_start.services.start()
    lines = up_start.lines()
    assert "up: starting the server" == lines[0]
    assert READY_S_MAX / WAIT_REPORT_INTERVAL_S - 1 == sum("still starting" in line for line in lines)
    assert "After 300 s the server has not reported its address." in up_start.err.getvalue()
    assert ExitCode.FAILED == up_start.services.shutdown.wait()
    assert "" == up_start.out.getvalue()


def test_server_that_waits_for_its_store_is_not_given_up(up_start: UpStart) -> None:
    """It has printed what it waits for: `up` adds nothing, however long that takes."""
    with acquire_lock(paths.server_lock(up_start.folder), "server") as lock:
        lock.write_info(f"{WAITING}PostgreSQL is away.")
        up_start.wait.due[up_start.clock.monotonic() + 3 * READY_S_MAX] = paths.server_url(up_start.folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("greenroom.client.api_client.ApiClient.healthz", lambda session: None)
            up_start.services._wait_for_server()
    assert [] == up_start.lines()
