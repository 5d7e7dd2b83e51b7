"""Reports that a killed daemon could not send are sent by the next one: once, and in order."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.daemon.outbox import Outbox
from greenroom.daemon.run_records import RunRecords
from tests.unit.one_role_daemon import LIMITS
from tests.unit.test_daemon_heartbeat import make_beat
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

KILLED = """
import os, signal, sys
from pathlib import Path
from greenroom.daemon.outbox import Outbox
from tests.unit.one_role_daemon import OneRoleDaemon
from tests.waiting import wait_until
from tests.unit.fake_server import FakeServer
from tests.unit.test_daemon_task_runner import crash_looping
folder, history, script, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
initial = crash_looping() if history else None
daemon = OneRoleDaemon(folder, FakeServer("task_1"), script, history=initial, accepts_reports=False)
wait_until(lambda: len(Outbox(folder / "outbox", 100).oldest(100)) == count, f"{count} reports are in the outbox")
wait_until(lambda: not list((folder / "runs").glob("*.json")), "the record of the run is removed")
os.kill(os.getpid(), signal.SIGKILL)
"""
RATE_LIMITED = """echo '{"status": "rate_limited"}' > $GREENROOM_RESULT"""


@pytest.mark.parametrize(
    ("history", "script", "kinds"),
    [
        ("", "exit 1", ["started", "exited"]),
        ("", RATE_LIMITED, ["started", "exited", "paused"]),
        ("crash-looping", "exit 1", ["started", "exited", "crash_looping"]),
        ("crash-looping", "cat", ["started", "exited", "recovered"]),
    ],
    ids=["failed", "paused", "crash-looping", "recovered"],
)
def test_outbox_of_killed_daemon_is_sent(tmp_path: Path, history: str, script: str, kinds: list[str]) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), history, script, str(len(kinds))]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert completed.returncode == -signal.SIGKILL, completed.stderr
    assert list(RunRecords(tmp_path / "runs").read_all()) == [], "only the outbox has it"

    beat, session, _ = make_beat(Outbox(tmp_path / "outbox", LIMITS.reports_waiting_max))
    beat.register_and_beat()
    assert [report.kind for report in session.reports] == kinds
    assert session.calls == ["register", "reports", "beat"]
    assert len({report.id for report in session.reports}) == len(kinds)
    assert Outbox(tmp_path / "outbox", LIMITS.reports_waiting_max).oldest(10) == []
