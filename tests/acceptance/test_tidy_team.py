"""The example team tidies a real repository, also when server and daemon are killed in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.house import House
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TIDY = Path(__file__).parents[2] / "examples" / "tidy" / "greenroom.toml"
UNTIDY = "import os\nimport sys\n\n\ndef read_path() -> list[str]:\n    return sys.path \n"
PATIENT_TEST = """
import os, time
from untidy import read_path

def test_path():
    open({began!r}, "a").close()
    while not os.path.exists({gate!r}):
        time.sleep(0.05)
    assert read_path()
"""


class Job:
    """A repository whose tests do not end before its gate is opened."""

    def __init__(self, folder: Path) -> None:
        self.repository, self._gate, self._began = folder / "repository", folder / "gate", folder / "began"
        self.repository.mkdir(parents=True)
        test = PATIENT_TEST.format(gate=str(self._gate), began=str(self._began))
        (self.repository / "untidy.py").write_text(UNTIDY)
        (self.repository / "test_untidy.py").write_text(test)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "begin")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=A Person", "-c", "user.email=person@example.invalid")
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=self.repository, check=True, capture_output=True, text=True).stdout

    def is_being_checked(self) -> bool:
        return self._began.exists()

    def open_gate(self) -> None:
        self._gate.touch()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "job")


def reports(house: House) -> list[str]:
    return [each["text"] for each in house.run("messages", "tidy", "--json").data if each["to"] == "user"]


def check_report(house: House, job: Job) -> None:
    """Assert that one report came, that its diff can be applied, and that the checkout was not changed."""
    wait_until(lambda: reports(house), "the report arrives")
    (report,) = reports(house)
    assert "Recommended: the tests pass" in report
    assert "\n-import os\n" in report
    assert str(job.repository) in report
    assert "" == job.git("status", "--porcelain")
    (diff,) = house.home.glob(".local/state/greenroom/tidy/*/tidy.diff")
    job.git("apply", str(diff))
    assert "import os" not in (job.repository / "untidy.py").read_text()
    tasks = house.api.get("rooms/tidy/tasks")
    assert ["surveyor", "fixer", "checker"] == [task["target_role"] for task in tasks]
    assert {"completed"} == {task["status"] for task in tasks}


def test_a_message_is_answered_with_diff_and_report(bare: House, job: Job) -> None:
    bare.start_up(TIDY)
    job.open_gate()
    bare.run("send", "tidy", f"tidy {job.repository}")
    check_report(bare, job)
    assert "Greenroom" not in job.git("log")


def test_it_comes_back_once_though_everything_is_killed_in_between(bare: House, job: Job) -> None:
    up = bare.start_up(TIDY)
    bare.run("send", "tidy", f"tidy {job.repository}")
    wait_until(job.is_being_checked, "the tests of the repository run")
    for name in ("server", "daemon"):
        killed = bare.holder(name)
        os.kill(killed, signal.SIGKILL)
        bare.comes_back(name, killed)
    job.open_gate()
    check_report(bare, job)
    assert 1 == bare.api.get("rooms/tidy/tasks")[2]["attempt"], "the next daemon adopts the run"
    assert up.poll() is None


def test_what_cannot_be_done_is_declined_with_what_to_change(bare: House) -> None:
    bare.start_up(TIDY)
    task = bare.run("send", "tidy", "tidy /nowhere/at/all", "--json").data["task"]["id"]
    declined = bare.wait_for_task(task, "quarantined")
    assert (1, 0) == (declined["attempt"], declined["deaths"])
    assert "There is no folder /nowhere/at/all" in declined["reason"]


def test_the_first_message_is_said_once(bare: House, job: Job) -> None:
    job.open_gate()
    up = bare.start_up(TIDY, "--say", f"tidy {job.repository}")
    check_report(bare, job)
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    bare.start_up(TIDY, "--say", f"tidy {job.repository}")
    assert 1 == len([each for each in bare.run("messages", "tidy", "--json").data if each["sender"] == "user"])
