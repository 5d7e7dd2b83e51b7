"""What Greenroom creates is for its owner alone, whatever the umask, and whatever mode the data directory has."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.agent_journal import AgentJournal
from tests.process.installation import ROOM, Installation, interrupt
from tests.waiting import wait_until

pytestmark = pytest.mark.process

STRANGE = "notes of another program.txt"
OURS = (
    "claims", "connections", "daemon.lock", "greenroom.db", "greenroom.db-wal", "logs", "machine.json",
    "operator.token", "outbox", "runs", "server.lock", "server.url", "work",
)  # fmt: skip


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """The umask of this process, and of the processes that it starts."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def open_to_others(data_dir: Path) -> dict[str, str]:
    """The files and folders below a data directory that others can access, without the other program's file."""
    found = {str(path.relative_to(data_dir)): stat.S_IMODE(path.lstat().st_mode) for path in data_dir.rglob("*")}
    return {name: f"{mode:04o}" for name, mode in found.items() if mode & 0o077 and name != STRANGE}


def use_everything(bare: Installation) -> AgentJournal:
    """Start all with `up`, and have a daemon's run at work with a note, a `wait-for-task` with a task, and a login."""
    bare.start_up(bare.write_team())
    journal = AgentJournal(bare.agent_folder)
    bare.run("room", "create", "other", "--roles", "worker")
    machine = bare.machine()["id"]  # without a directory, so that the agent gets its own in `work`
    bare.run("agent", "set", "other/worker", "--machine", machine, "--harness", f"{ROOM}.builder")
    bare.run("send", "other", "hold:gate and paint", "--to", "worker")
    task = journal.wait_for("begins", role="worker")["task"]
    bare.run("note", task, "blue, please")
    bare.run("room", "create", "third", "--roles", "guest")
    bare.run("send", "third", "look")
    bare.run("wait-for-task", "third", "--role", "guest")
    return journal


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077], ids=oct)
def test_all_files_are_private(bare: Installation, mask: int) -> None:
    bare.data_dir.mkdir()
    (bare.data_dir / STRANGE).touch(0o644)
    bare.data_dir.chmod(0o755)
    (bare.data_dir / STRANGE).chmod(0o644)
    with umask(mask):
        journal = use_everything(bare)
        wait_until(lambda: list(bare.data_dir.glob("logs/*/*/*/notes*")), "the note is in its file")
        assert set() == set(OURS) - {path.name for path in bare.data_dir.iterdir()}
        assert {} == open_to_others(bare.data_dir)
        journal.open_gate("gate")
    assert 0o644 == stat.S_IMODE((bare.data_dir / STRANGE).stat().st_mode)


def test_open_files_of_an_earlier_version_are_closed(bare: Installation) -> None:
    """`doctor` names them; the next start closes them, and leaves the files of others alone."""
    up = bare.start_up(bare.write_team())
    bare.wait_for_task(bare.send("paint"), "completed")
    assert 130 == interrupt(up)
    (bare.data_dir / STRANGE).touch()
    for path in (bare.data_dir, *bare.data_dir.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    warnings = [finding for finding in bare.run("doctor", "--json", expect=None).data if finding["level"] == "warning"]
    [finding] = [finding for finding in warnings if "files and folders" in finding["detail"]]
    assert ("data directory", True) == (finding["what"], "other users can access" in finding["detail"])
    assert "next start" in finding["next"]

    bare.start_up(bare.write_team())
    assert {} == open_to_others(bare.data_dir)
    assert 0o666 == stat.S_IMODE((bare.data_dir / STRANGE).stat().st_mode)
    details = [finding["detail"] for finding in bare.run("doctor", "--json", expect=None).data]
    assert not [detail for detail in details if "files and folders" in detail]
