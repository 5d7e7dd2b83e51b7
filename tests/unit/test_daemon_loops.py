"""A daemon exits when one of its threads fails because of a bug, instead of running on without that thread."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom.clock import SystemClock
from greenroom.daemon.beat import MachineBeat
from greenroom.daemon.daemon import Daemon
from greenroom.daemon.facts import FactTeller
from greenroom.daemon.machine import Machine
from greenroom.daemon.supervisor import Supervisor
from greenroom.daemon.wishing import WishWatch
from greenroom.entropy import SeededEntropy
from greenroom.process.ending import CONFLICT, FAILED, Ending
from greenroom.wire.requests import Fact
from tests.unit.calling import settings_of
from tests.waiting import PATIENCE_S

NOBODY = "http://127.0.0.1:9"


def supervise(daemon: Daemon) -> None:
    daemon._supervisor.start()


def watch(daemon: Daemon) -> None:
    daemon._watch.start()


def tell(daemon: Daemon) -> None:
    daemon._premises.outbox.put(Fact(id="f", kind="exited", room="r", role="builder", connection_id="c"))
    daemon._teller.start()


def beat(daemon: Daemon) -> None:
    daemon.start()


@pytest.mark.parametrize(
    ("start", "owner", "method"),
    [
        (supervise, Supervisor, "step"),
        (watch, WishWatch, "ask"),
        (tell, FactTeller, "_deliver_next"),
        (beat, MachineBeat, "register_and_beat"),
    ],
)
def test_a_daemon_does_not_live_on_without_one_of_its_loops(
    start: Callable[[Daemon], None],
    owner: type[Any],
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mistakes: list[BaseException | None] = []
    before = set(threading.enumerate())

    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(threading, "excepthook", lambda told: mistakes.append(told.exc_value))
    monkeypatch.setattr(owner, method, fail)
    ending, machine = Ending(), Machine(id="m1", name="m1")
    daemon = Daemon(settings_of(NOBODY, tmp_path), machine, lambda: "t", {}, SystemClock(), SeededEntropy(1), ending)
    too_long = threading.Timer(PATIENCE_S, ending.tell, [CONFLICT])
    too_long.start()
    start(daemon)
    code = ending.wait()
    too_long.cancel()
    assert code == FAILED, "the daemon did not exit, although one of its threads had failed"
    assert daemon.error is not None or [record.levelno for record in caplog.records][-1:] == [logging.CRITICAL]
    daemon._teller.close(0)
    for thread in set(threading.enumerate()) - before - {too_long}:
        thread.join(PATIENCE_S)
    assert [type(mistake) for mistake in mistakes] == [ZeroDivisionError]
