"""A resident agent: one process that its daemon keeps alive. It does tasks, is killed and restarted, and is adopted.

Real processes, real kills. The agent's program is `resident_agent.py`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.installation import LONG_STOP_GRACE, ROOM, Installation
from tests.process.processes import find_processes, is_alive, kill_all
from tests.waiting import NotYet, assert_stays_true, wait_until

pytestmark = pytest.mark.process

PROGRAM = Path(__file__).with_name("resident_agent.py")
ROLE = f"{ROOM}/builder"


class ResidentAgent:
    """The resident agents of an installation, and what they note."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.folder = installation.root / "resident"
        self.folder.mkdir()
        installation.durations |= LONG_STOP_GRACE

    def start_daemon(self) -> None:
        config = self.installation.home / "greenroom.toml"
        config.write_text(
            f'[daemon.harnesses.keeper]\nresident = true\ncommand = ["{{python}}", "{PROGRAM}"]\n'
            f'env = {{ RESIDENT_FOLDER = "{self.folder}" }}\n'
        )
        self.installation.start_daemon(config=config)
        self.installation.run(
            "agent", "set", ROLE, "--machine", self.installation.machine()["id"], "--harness", "keeper"
        )

    def notes(self) -> list[tuple[int, str]]:
        """All notes, each with the process that wrote it."""
        try:
            lines = (self.folder / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(int(line.partition(" ")[0]), line.partition(" ")[2]) for line in lines]

    def wait_for(self, text: str) -> int:
        """Wait for a note; return the process that wrote it last."""

        def look() -> int:
            found = [pid for pid, note in self.notes() if note == text]
            if not found:
                raise NotYet(self.notes())
            return found[-1]

        return wait_until(look, f"the agent notes {text!r}")

    def release(self) -> None:
        (self.folder / "go").touch()

    @property
    def mark(self) -> str:
        """A text in the environment of every process of this installation's resident agents."""
        return str(self.installation.data_dir / "logs")

    def processes(self) -> dict[int, str]:
        """The running processes."""
        return find_processes(self.mark)


@pytest.fixture
def resident(installation: Installation) -> ResidentAgent:
    resident = ResidentAgent(installation)
    resident.start_daemon()
    return resident


def test_killed_resident_is_restarted_with_its_task(installation: Installation, resident: ResidentAgent) -> None:
    first = resident.wait_for("began")
    done = installation.send("sweep")
    installation.wait_for_task(done, "completed")
    task = installation.send("hang")
    assert first == resident.wait_for("hang 1"), "one process does all tasks"
    installation.wait_for_status("builder", "working")

    os.kill(first, signal.SIGKILL)
    second = resident.wait_for("hang 2")
    assert second != first
    now = installation.wait_for_task(task, "completed")
    assert ("did hang", 2, 1) == (now["result"], now["accepted_attempt"], now["failures"])
    third = installation.send("dust")
    installation.wait_for_task(third, "completed")
    assert second == resident.wait_for("dust 1")
    assert [first, second] == [pid for pid, note in resident.notes() if note == "began"]
    assert 1 == installation.api.count("agent.exited", intended=False, signal=9)
    assert ["did sweep", "did hang", "did dust"] == installation.messages_to_user()

    installation.run("daemon", "stop")
    assert {} == resident.processes()
    assert [] == installation.room()["participants"]
    kept = [path for path in (installation.data_dir / "outbox").glob("*.json") if '"exit:' in path.read_text()]
    assert 1 == installation.api.count("agent.exited", intended=True) or kept, (
        "its end is reported, or kept for the next daemon"
    )


def test_resident_is_adopted_by_next_daemon(installation: Installation, resident: ResidentAgent) -> None:
    task = installation.send("hang")
    agent = resident.wait_for("hang 1")
    installation.wait_for_task(task, "in_progress")
    participant_before = installation.participant()

    os.kill(installation.process_id("daemon"), signal.SIGKILL)
    assert "shop/builder: resident runs without a daemon" in installation.run("doctor").out
    resident.start_daemon()
    resident.release()
    now = installation.wait_for_task(task, "completed")
    assert ("did hang", 1, 0) == (now["result"], now["accepted_attempt"], now["failures"])
    another = installation.send("dust")
    installation.wait_for_task(another, "completed")
    assert agent == resident.wait_for("dust 1")
    assert (participant_before["connection_id"], participant_before["epoch"]) == (
        installation.participant()["connection_id"],
        installation.participant()["epoch"],
    )
    assert [agent] == [pid for pid, note in resident.notes() if note == "began"]

    installation.run("agent", "stop", ROLE)
    installation.wait_for_status("builder", "stopped")
    assert not is_alive(agent)
    assert {} == resident.processes()


def test_resident_killed_without_daemon_gets_its_task_again(
    installation: Installation, resident: ResidentAgent
) -> None:
    task = installation.send("hang")
    agent = resident.wait_for("hang 1")
    installation.wait_for_task(task, "in_progress")
    os.kill(installation.process_id("daemon"), signal.SIGKILL)
    kill_all(resident.mark)
    resident.start_daemon()
    assert agent != resident.wait_for("hang 2")
    now = installation.wait_for_task(task, "completed")
    assert ("did hang", 2, 1) == (now["result"], now["accepted_attempt"], now["failures"])
    wait_until(lambda: not list((installation.data_dir / "outbox").glob("*.json")), "the outbox is empty")
    assert 1 == len(list((installation.data_dir / "residents").glob("*.json")))


def test_takeover_ends_resident(installation: Installation, resident: ResidentAgent) -> None:
    agent = resident.wait_for("began")
    wait_until(lambda: installation.participant(), "the agent is present")
    refused = installation.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "1", expect=4)
    assert "builder" in refused.err
    assert_stays_true(lambda: is_alive(agent), "a wait without --take-over does not take the role", 0.5)
    installation.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "3", "--take-over", expect=75)
    wait_until(lambda: not resident.processes(), "the process and its children are ended")
    assert 0 == installation.api.count("agent.exited", intended=False)
