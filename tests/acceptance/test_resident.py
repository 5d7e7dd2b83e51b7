"""A resident agent: one process that its daemon keeps alive. It does tasks, is killed and restarted, and is adopted.

Real processes, real kills. The agent's program is `staying.py`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.house import LET_END, ROOM, House
from tests.acceptance.processes import end_all, is_alive, with_mark
from tests.waiting import NotYet, stays, wait_until

pytestmark = pytest.mark.process

AGENT = Path(__file__).with_name("staying.py")
SEAT = f"{ROOM}/builder"


class Staying:
    """The resident agents of an installation, and what they note."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.folder = house.root / "staying"
        self.folder.mkdir()
        house.durations |= LET_END

    def start_daemon(self) -> None:
        config = self.house.home / "greenroom.toml"
        config.write_text(
            f'[daemon.harnesses.keeper]\nresident = true\ncommand = ["{{python}}", "{AGENT}"]\n'
            f'env = {{ STAYING_FOLDER = "{self.folder}" }}\n'
        )
        self.house.start_daemon(config=config)
        self.house.run("agent", "set", SEAT, "--machine", self.house.machine()["id"], "--harness", "keeper")

    def noted(self) -> list[tuple[int, str]]:
        """All notes, each with the process that wrote it."""
        try:
            lines = (self.folder / "notes").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(int(line.partition(" ")[0]), line.partition(" ")[2]) for line in lines]

    def wait_for(self, note: str) -> int:
        """Wait for a note; return the process that wrote it last."""

        def look() -> int:
            found = [pid for pid, noted in self.noted() if noted == note]
            if not found:
                raise NotYet(self.noted())
            return found[-1]

        return wait_until(look, f"the agent notes {note!r}")

    def let_go(self) -> None:
        (self.folder / "go").touch()

    @property
    def mark(self) -> str:
        """A text in the environment of every process of this installation's resident agents."""
        return str(self.house.data_dir / "logs")

    def processes(self) -> dict[int, str]:
        """The running processes."""
        return with_mark(self.mark)


@pytest.fixture
def staying(house: House) -> Staying:
    staying = Staying(house)
    staying.start_daemon()
    return staying


def test_a_resident_works_off_its_tasks_dies_and_comes_back(house: House, staying: Staying) -> None:
    first = staying.wait_for("began")
    done = house.send("sweep")
    house.wait_for_task(done, "completed")
    task = house.send("hang")
    assert first == staying.wait_for("hang 1"), "one process does all tasks"
    house.wait_for_status("builder", "working")

    os.kill(first, signal.SIGKILL)
    second = staying.wait_for("hang 2")
    assert second != first
    now = house.wait_for_task(task, "completed")
    assert ("did hang", 2, 1) == (now["result"], now["accepted_attempt"], now["deaths"])
    third = house.send("dust")
    house.wait_for_task(third, "completed")
    assert second == staying.wait_for("dust 1")
    assert [first, second] == [pid for pid, noted in staying.noted() if noted == "began"]
    assert 1 == house.api.count("agent.exited", intended=False, signal=9)
    assert ["did sweep", "did hang", "did dust"] == house.heard_by_user()

    house.run("daemon", "stop")
    assert {} == staying.processes()
    assert [] == house.room()["participants"]
    kept = [path for path in (house.data_dir / "outbox").glob("*.json") if '"exit:' in path.read_text()]
    assert 1 == house.api.count("agent.exited", intended=True) or kept, (
        "its end is reported, or kept for the next daemon"
    )


def test_a_resident_outlives_its_daemon_and_is_kept_on_by_the_next(house: House, staying: Staying) -> None:
    task = house.send("hang")
    agent = staying.wait_for("hang 1")
    house.wait_for_task(task, "in_progress")
    sitting = house.seat()

    os.kill(house.holder("daemon"), signal.SIGKILL)
    assert "shop/builder: resident runs without a daemon" in house.run("doctor").out
    staying.start_daemon()
    staying.let_go()
    now = house.wait_for_task(task, "completed")
    assert ("did hang", 1, 0) == (now["result"], now["accepted_attempt"], now["deaths"])
    another = house.send("dust")
    house.wait_for_task(another, "completed")
    assert agent == staying.wait_for("dust 1")
    assert (sitting["connection_id"], sitting["epoch"]) == (
        house.seat()["connection_id"],
        house.seat()["epoch"],
    )
    assert [agent] == [pid for pid, noted in staying.noted() if noted == "began"]

    house.run("agent", "stop", SEAT)
    house.wait_for_status("builder", "stopped")
    assert not is_alive(agent)
    assert {} == staying.processes()


def test_one_that_died_unseen_comes_back_with_its_task(house: House, staying: Staying) -> None:
    task = house.send("hang")
    agent = staying.wait_for("hang 1")
    house.wait_for_task(task, "in_progress")
    os.kill(house.holder("daemon"), signal.SIGKILL)
    end_all(staying.mark)
    staying.start_daemon()
    assert agent != staying.wait_for("hang 2")
    now = house.wait_for_task(task, "completed")
    assert ("did hang", 2, 1) == (now["result"], now["accepted_attempt"], now["deaths"])
    wait_until(lambda: not list((house.data_dir / "outbox").glob("*.json")), "the outbox is empty")
    assert 1 == len(list((house.data_dir / "residents").glob("*.json")))


def test_a_role_that_is_taken_over_ends_its_resident(house: House, staying: Staying) -> None:
    agent = staying.wait_for("began")
    wait_until(lambda: house.seat(), "the agent is present")
    refused = house.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "1", expect=4)
    assert "builder" in refused.err
    stays(lambda: is_alive(agent), "a wait without --take-over does not take the role", 0.5)
    house.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "3", "--take-over", expect=75)
    wait_until(lambda: not staying.processes(), "the process and its children are ended")
    assert 0 == house.api.count("agent.exited", intended=False)
