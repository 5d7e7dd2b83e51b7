"""Reports that a killed daemon could not send are sent by the next one: once, and in order."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenroom.daemon.outbox import Outbox
from greenroom.daemon.runs import RunBook
from tests.unit.stage import LIMITS
from tests.unit.test_daemon_beat import beat_telling
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.process

KILLED = """
import os, signal, sys
from pathlib import Path
from greenroom.daemon.outbox import Outbox
from tests.unit.stage import Stage
from tests.waiting import wait_until
from tests.unit.stand_in import Server
from tests.unit.test_daemon_seat import on_trial
folder, history, script, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
stage = Stage(folder, Server("task_1"), script, history=on_trial() if history else None, takes_facts=False)
wait_until(lambda: len(Outbox(folder / "outbox", 100).first(100)) == count, f"{count} reports are in the outbox")
wait_until(lambda: not list((folder / "runs").glob("*.json")), "the record of the run is removed")
os.kill(os.getpid(), signal.SIGKILL)
"""
LIMITED = """echo '{"status": "rate_limited"}' > $GREENROOM_RESULT"""


@pytest.mark.parametrize(
    ("history", "script", "kinds"),
    [
        ("", "exit 1", ["started", "exited"]),
        ("", LIMITED, ["started", "exited", "paused"]),
        ("on trial", "exit 1", ["started", "exited", "parked"]),
        ("on trial", "cat", ["started", "exited", "unparked"]),
    ],
    ids=["failed", "paused", "crash-looping", "recovered"],
)
def test_what_only_the_outbox_knows_is_told_by_the_next_daemon(
    tmp_path: Path, history: str, script: str, kinds: list[str]
) -> None:
    told = [sys.executable, "-c", KILLED, str(tmp_path), history, script, str(len(kinds))]
    ended = subprocess.run(told, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert list(RunBook(tmp_path / "runs").read_all()) == [], "only the outbox has it"

    beat, session, _ = beat_telling(Outbox(tmp_path / "outbox", LIMITS.facts_waiting_max))
    beat.register_and_beat()
    assert [fact.kind for fact in session.told] == kinds
    assert session.calls == ["register", "facts", "beat"]
    assert len({fact.id for fact in session.told}) == len(kinds)
    assert Outbox(tmp_path / "outbox", LIMITS.facts_waiting_max).first(10) == []
