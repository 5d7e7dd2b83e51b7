"""A slow start of `greenroom up`: what it prints meanwhile, and when it gives up."""

import io
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.cli import exits
from greenroom.cli.child import Child
from greenroom.cli.up import READY_S_MAX, STILL_WAITING_S, House
from greenroom.clock import MovedClock
from greenroom.settings import paths
from tests.unit.calling import settings_of

UP_S = 60.0


class Passing:
    """Replaces the event that is set at the end: each wait moves the clock by 1 s and writes the files that are due."""

    def __init__(self, clock: MovedClock) -> None:
        self.clock = clock
        self.due: dict[float, Path] = {}

    def wait(self, timeout: float) -> bool:
        self.clock.move(1.0)
        for at, path in list(self.due.items()):
            if self.clock.monotonic() >= at:
                path.write_text("http://127.0.0.1:1\n")
        return False

    def set(self) -> None:
        return


class Starting:
    """One start under a moved clock, whose child processes are not started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out, self.err = io.StringIO(), io.StringIO()
        self.clock = MovedClock()
        arguments = Namespace(say=[], listen=None)
        self.house = House(arguments, settings_of("http://127.0.0.1:1", folder), self.out, self.err, self.clock)
        self.passing = Passing(self.clock)
        self.house._is_closing = self.passing  # type: ignore[assignment]

    def said(self) -> list[str]:
        return self.err.getvalue().splitlines()


@pytest.fixture
def starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starting]:
    monkeypatch.setattr(Child, "start", lambda child: None)
    made = Starting(tmp_path)
    yield made
    os.close(made.house._leash)
    os.close(made.house._held)


def test_a_slow_start_is_told_and_waited_for(starting: Starting) -> None:
    starting.passing.due[starting.clock.monotonic() + UP_S] = paths.server_url(starting.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("greenroom.client.session.Session.healthz", lambda session: None)
        starting.house._wait_for_server()
    waits = [f"up: still starting after {at} s: the server has not reported its address" for at in range(10, 60, 10)]
    assert waits == [line for line in starting.said() if "still starting" in line]


def test_a_start_that_hangs_is_given_up_and_says_what_was_missing(starting: Starting) -> None:
    starting.house.open()
    said = starting.said()
    assert "up: starting the server" == said[0]
    assert READY_S_MAX / STILL_WAITING_S - 1 == sum("still starting" in line for line in said)
    assert "After 300 s the server has not reported its address." in starting.err.getvalue()
    assert exits.FAILED == starting.house.ending.wait()
    assert "" == starting.out.getvalue()
