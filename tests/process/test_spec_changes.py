"""A change of an agent spec while a run is at work counts for the next run, unless the user wants it now."""

from __future__ import annotations

import pytest

from tests.process.agent_journal import AgentJournal
from tests.process.installation import ROOM, Installation
from tests.waiting import wait_until

pytestmark = pytest.mark.process

ROLE = f"{ROOM}/builder"


def begin_task(installation: Installation) -> tuple[AgentJournal, str]:
    """Start a daemon with a builder, and give it a task; its run has begun on return."""
    installation.start_daemon()
    installation.assign("builder")
    installation.wait_for_status("builder", "waiting")
    journal = AgentJournal(installation.agent_folder)
    task = installation.send("hold:gate and paint", to="builder")
    journal.wait_for("begins", task=task)
    return journal, task


@pytest.mark.parametrize("change", [("--model", "large"), ("--task-timeout", "0.01"), ("--empty", "failure")])
def test_change_counts_for_the_next_run(installation: Installation, change: tuple[str, str]) -> None:
    journal, task = begin_task(installation)
    joined = installation.participant()
    answer = installation.run("agent", "set", ROLE, *change)
    assert "counts for the next run" in answer.err
    assert "began under an earlier agent spec" in installation.run("why", ROLE).out
    journal.open_gate("gate")
    done = installation.wait_for_task(task, "completed")
    assert (1, 0) == (done["attempt"], done["failures"])
    assert [1] == journal.attempts("ends", task)
    wait_until(lambda: installation.participant() != joined, "the new spec applies")


def test_change_now_stops_the_run(installation: Installation) -> None:
    journal, task = begin_task(installation)
    answer = installation.run("agent", "set", ROLE, "--model", "large", "--now")
    assert "counts for the next run" not in answer.err
    journal.wait_for("begins", task=task, attempt=2)
    journal.open_gate("gate")
    done = installation.wait_for_task(task, "completed")
    assert (2, 0) == (done["attempt"], done["failures"])
    assert [2] == journal.attempts("ends", task)
