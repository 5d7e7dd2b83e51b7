"""The example team tidies a real repository, also when server and daemon are killed in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.installation import Installation
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TIDY = Path(__file__).parents[2] / "examples" / "tidy" / "greenroom.toml"
UNTIDY = "import os\nimport sys\n\n\ndef read_path() -> list[str]:\n    return sys.path \n"
GATED_TEST = """
import os, time
from untidy import read_path

def test_path():
    open({began!r}, "a").close()
    while not os.path.exists({gate!r}):
        time.sleep(0.05)
    assert read_path()
"""


class GatedRepository:
    """A repository whose tests do not end before its gate is opened."""

    def __init__(self, folder: Path) -> None:
        self.path, self._gate, self._began = folder / "repository", folder / "gate", folder / "began"
        self.path.mkdir(parents=True)
        test = GATED_TEST.format(gate=str(self._gate), began=str(self._began))
        (self.path / "untidy.py").write_text(UNTIDY)
        (self.path / "test_untidy.py").write_text(test)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "begin")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=A Person", "-c", "user.email=person@example.invalid")
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True).stdout

    def tests_have_begun(self) -> bool:
        return self._began.exists()

    def open_gate(self) -> None:
        self._gate.touch()


@pytest.fixture
def gated(tmp_path: Path) -> GatedRepository:
    return GatedRepository(tmp_path / "job")


def reports(installation: Installation) -> list[str]:
    return [each["text"] for each in installation.run("messages", "tidy", "--json").data if each["to"] == "user"]


def check_report(installation: Installation, gated: GatedRepository) -> None:
    """Assert that one report came, that its diff can be applied, and that the checkout was not changed."""
    wait_until(lambda: reports(installation), "the report arrives")
    (report,) = reports(installation)
    assert "Recommended: the tests pass" in report
    assert "\n-import os\n" in report
    assert str(gated.path) in report
    assert "" == gated.git("status", "--porcelain")
    (diff,) = installation.home.glob(".local/state/greenroom/tidy/*/tidy.diff")
    gated.git("apply", str(diff))
    assert "import os" not in (gated.path / "untidy.py").read_text()
    tasks = installation.api.get("rooms/tidy/tasks")
    assert ["surveyor", "fixer", "checker"] == [task["target_role"] for task in tasks]
    assert {"completed"} == {task["status"] for task in tasks}


def test_message_is_answered_with_diff_and_report(bare: Installation, gated: GatedRepository) -> None:
    bare.start_up(TIDY)
    gated.open_gate()
    bare.run("send", "tidy", f"tidy {gated.path}")
    check_report(bare, gated)
    assert "Greenroom" not in gated.git("log")


def test_one_report_after_server_and_daemon_killed(bare: Installation, gated: GatedRepository) -> None:
    up = bare.start_up(TIDY)
    bare.run("send", "tidy", f"tidy {gated.path}")
    wait_until(gated.tests_have_begun, "the tests of the repository run")
    for name in ("server", "daemon"):
        killed = bare.process_id(name)
        os.kill(killed, signal.SIGKILL)
        bare.wait_until_replaced(name, killed)
    gated.open_gate()
    check_report(bare, gated)
    assert 1 == bare.api.get("rooms/tidy/tasks")[2]["attempt"], "the next daemon adopts the run"
    assert up.poll() is None


def test_invalid_path_is_declined(bare: Installation) -> None:
    bare.start_up(TIDY)
    task = bare.run("send", "tidy", "tidy /nowhere/at/all", "--json").data["task"]["id"]
    declined = bare.wait_for_task(task, "quarantined")
    assert (1, 0) == (declined["attempt"], declined["failures"])
    assert "There is no readable folder /nowhere/at/all" in declined["reason"]


def test_say_sends_first_message_once(bare: Installation, gated: GatedRepository) -> None:
    gated.open_gate()
    up = bare.start_up(TIDY, "--say", f"tidy {gated.path}")
    check_report(bare, gated)
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    bare.start_up(TIDY, "--say", f"tidy {gated.path}")
    assert 1 == len([each for each in bare.run("messages", "tidy", "--json").data if each["sender"] == "user"])
