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
from tests.unit.agent_commands import make_settings
from tests.waiting import PATIENCE_S

UNREACHABLE_URL = "http://127.0.0.1:9"


def start_supervisor(daemon: Daemon) -> None:
    daemon._supervisor.start()


def start_spec_watch(daemon: Daemon) -> None:
    daemon._watch.start()


def start_sender(daemon: Daemon) -> None:
    daemon._premises.outbox.put(Fact(id="f", kind="exited", room="r", role="builder", connection_id="c"))
    daemon._teller.start()


def start_beat(daemon: Daemon) -> None:
    daemon.start()


@pytest.mark.parametrize(
    ("start", "owner", "method"),
    [
        (start_supervisor, Supervisor, "step"),
        (start_spec_watch, WishWatch, "ask"),
        (start_sender, FactTeller, "_deliver_next"),
        (start_beat, MachineBeat, "register_and_beat"),
    ],
)
def test_failed_thread_ends_daemon(
    start: Callable[[Daemon], None],
    owner: type[Any],
    method: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[BaseException | None] = []
    before = set(threading.enumerate())

    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(threading, "excepthook", lambda arguments: errors.append(arguments.exc_value))
    monkeypatch.setattr(owner, method, fail)
    ending, machine = Ending(), Machine(id="m1", name="m1")
    daemon = Daemon(
        make_settings(UNREACHABLE_URL, tmp_path), machine, lambda: "t", {}, SystemClock(), SeededEntropy(1), ending
    )
    watchdog = threading.Timer(PATIENCE_S, ending.tell, [CONFLICT])
    watchdog.start()
    start(daemon)
    code = ending.wait()
    watchdog.cancel()
    assert code == FAILED, "the daemon did not exit, although one of its threads had failed"
    assert daemon.error is not None or [record.levelno for record in caplog.records][-1:] == [logging.CRITICAL]
    daemon._teller.close(0)
    for thread in set(threading.enumerate()) - before - {watchdog}:
        thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [ZeroDivisionError]
