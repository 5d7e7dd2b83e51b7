"""A daemon exits when one of its threads fails because of a bug, instead of running on without that thread."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenroom.clock import SystemClock
from greenroom.daemon.daemon import Daemon
from greenroom.daemon.heartbeat import MachineHeartbeats
from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.outbox_sender import OutboxSender
from greenroom.daemon.spec_watch import SpecWatch
from greenroom.daemon.supervisor import Supervisor
from greenroom.exit_codes import ExitCode
from greenroom.process.exit_signals import Shutdown
from greenroom.testing import SeededEntropy
from greenroom.wire.requests import AgentReport
from tests.unit.agent_commands import make_settings
from tests.waiting import PATIENCE_S

UNREACHABLE_URL = "http://127.0.0.1:9"


def start_supervisor(daemon: Daemon) -> None:
    daemon._supervisor.start()


def start_spec_watch(daemon: Daemon) -> None:
    daemon._spec_watch.start()


def start_sender(daemon: Daemon) -> None:
    daemon._context.outbox.add(AgentReport(id="f", kind="exited", room="r", role="builder", connection_id="c"))
    daemon._outbox_sender.start()


def start_beat(daemon: Daemon) -> None:
    daemon.start()


@pytest.mark.parametrize(
    ("start", "owner", "method"),
    [
        (start_supervisor, Supervisor, "step"),
        (start_spec_watch, SpecWatch, "poll"),
        (start_sender, OutboxSender, "_send_batch"),
        (start_beat, MachineHeartbeats, "register_and_beat"),
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
    ending, machine = Shutdown(), MachineIdentity(id="m1", name="m1")
    daemon = Daemon(
        make_settings(UNREACHABLE_URL, tmp_path), machine, lambda: "t", {}, SystemClock(), SeededEntropy(1), ending
    )
    watchdog = threading.Timer(PATIENCE_S, ending.request, [ExitCode.CONFLICT])
    watchdog.start()
    start(daemon)
    code = ending.wait()
    watchdog.cancel()
    assert code == ExitCode.FAILED, "the daemon did not exit, although one of its threads had failed"
    assert daemon.error is not None or [record.levelno for record in caplog.records][-1:] == [logging.CRITICAL]
    daemon._outbox_sender.close(0)
    for thread in set(threading.enumerate()) - before - {watchdog}:
        thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [ZeroDivisionError]
