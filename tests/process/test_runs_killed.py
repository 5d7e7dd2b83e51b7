"""Runs of a daemon are killed, stopped, or queue up: no process is left behind, and each task is done once."""

from __future__ import annotations

import os
import signal

import pytest

from tests.process.agent_journal import AgentJournal
from tests.process.installation import ROOM, Installation
from tests.process.processes import find_processes, is_alive
from tests.waiting import assert_stays_true, wait_until

pytestmark = pytest.mark.process


def start_builder(installation: Installation) -> AgentJournal:
    installation.start_daemon()
    installation.assign("builder")
    installation.wait_for_status("builder", "waiting")
    return AgentJournal(installation.agent_folder)


def run_of(installation: Installation, task: str) -> list[int]:
    """The running processes of a task's runs, the shims included."""
    return [pid for pid in find_processes(f"GREENROOM_TASK={task}") if pid in find_processes(str(installation.root))]


def test_killed_command_is_run_again(installation: Installation) -> None:
    journal = start_builder(installation)
    task = installation.send("fork hold:again and paint", to="builder")
    first = journal.wait_for("forked", task=task)
    wait_until(lambda: len(run_of(installation, task)) >= 4, "the run has a child and a grandchild")
    group = run_of(installation, task)
    os.kill(first["pid"], signal.SIGKILL)

    journal.wait_for("forked", task=task, attempt=2)
    assert [] == [pid for pid in group if is_alive(pid)]
    journal.open_gate("again")
    done = installation.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["failures"])
    assert [1, 2] == journal.attempts("begins", task)
    assert [2] == journal.attempts("ends", task)
    exits = [event for event in installation.api.events() if event["type"] == "agent.exited"]
    assert [9] == [event["data"]["signal"] for event in exits if event["data"]["attempt"] == 1]
    wait_until(lambda: not run_of(installation, task), "nothing of the second run is left")


def test_killed_process_group_is_run_again(installation: Installation) -> None:
    journal = start_builder(installation)
    task = installation.send("hold:again and paint")
    os.killpg(os.getpgid(journal.wait_for("begins", task=task)["pid"]), signal.SIGKILL)
    journal.wait_for("begins", task=task, attempt=2)
    journal.open_gate("again")
    assert 2 == installation.wait_for_task(task, "completed")["attempt"]
    assert 1 == installation.api.count("task.released", task=task)


def test_killed_shim_ends_run_and_task_runs_again(installation: Installation) -> None:
    journal = start_builder(installation)
    task = installation.send("fork hold:again and paint", to="builder")
    pid = journal.wait_for("forked", task=task)["pid"]
    wait_until(lambda: len(run_of(installation, task)) >= 4, "the run has a child and a grandchild")
    group = run_of(installation, task)
    os.kill(os.getpgid(pid), signal.SIGKILL)
    journal.wait_for("begins", task=task, attempt=2)
    assert [] == [pid for pid in group if is_alive(pid)]
    journal.open_gate("again")
    assert (2, 1) == (installation.wait_for_task(task, "completed")["attempt"], installation.task(task)["failures"])
    (cause,) = [event["cause"] for event in installation.api.events() if event["type"] == "task.released"]
    assert "how the command ended is unknown" in cause


def test_suspended_shim_reports_end_late(installation: Installation) -> None:
    journal = start_builder(installation)
    task = installation.send("hold:on and paint")
    shim = os.getpgid(journal.wait_for("begins", task=task)["pid"])
    os.kill(shim, signal.SIGSTOP)
    journal.open_gate("on")
    journal.wait_for("ends", task=task)
    assert_stays_true(lambda: installation.task(task)["status"] == "in_progress", "the end is not reported yet", 1.0)
    os.kill(shim, signal.SIGCONT)
    assert (1, 0) == (installation.wait_for_task(task, "completed")["attempt"], installation.task(task)["failures"])


def test_killed_work_leaves_no_process(installation: Installation) -> None:
    work = installation.start_work()
    journal = AgentJournal(installation.agent_folder)
    task = installation.send("fork hold:again and paint")
    journal.wait_for("forked", task=task)
    wait_until(lambda: len(run_of(installation, task)) >= 4, "the run has a child and a grandchild")
    work.kill()
    wait_until(lambda: not run_of(installation, task), "nothing of the run is left")


def test_failing_run_is_quarantined(installation: Installation) -> None:
    journal = start_builder(installation)
    task = installation.send("fail:99")
    quarantined = installation.wait_for_task(task, "quarantined")
    assert 3 == quarantined["failures"]
    assert "the saw broke on attempt 3" in quarantined["reason"]
    assert [1, 2, 3] == journal.attempts("fails", task)
    shown = installation.run("status")
    assert task in shown.out or "quarantine" in shown.out


def test_stopped_agent_stays_stopped(installation: Installation) -> None:
    journal = start_builder(installation)
    installation.run("agent", "stop", f"{ROOM}/builder", "--reason", "the paint is wet")
    installation.wait_for_status("builder", "stopped")
    task = installation.send("paint")
    assert_stays_true(lambda: installation.role()["status"] == "stopped", "it stays stopped", 5.0)
    assert [] == journal.lines()
    assert "pending" == installation.task(task)["status"]
    assert "stopped" in installation.run("status").out
    why = installation.run("why", f"{ROOM}/builder").out
    assert "is stopped: the paint is wet" in why
    assert task in why
    installation.run("agent", "start", f"{ROOM}/builder")
    assert 1 == installation.wait_for_task(task, "completed")["attempt"]
    assert [1] == journal.attempts("begins", task)


def test_stopping_working_agent_ends_run(installation: Installation) -> None:
    journal = start_builder(installation)
    task = installation.send("fork hold:never")
    journal.wait_for("forked", task=task)
    wait_until(lambda: len(run_of(installation, task)) >= 4, "the run has a child and a grandchild")
    installation.run("agent", "stop", f"{ROOM}/builder")
    installation.wait_for_status("builder", "stopped")
    wait_until(lambda: not run_of(installation, task), "nothing of the run is left")
    stopped = installation.task(task)
    assert ("pending", 0, "stopped") == (stopped["status"], stopped["failures"], stopped["released_cause"])


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "completed"])
def test_run_leaves_no_escaped_process(installation: Installation, is_stopped: bool) -> None:
    """A helper that left the run's group, session and environment ends with the run."""
    journal = start_builder(installation)
    task = installation.send("escape hold:gate")
    wait_until(lambda: [each for each in journal.lines() if each["kind"].startswith("escaped")], "a helper escaped")
    pid = next(int(each["kind"].split()[-1]) for each in journal.lines() if each["kind"].startswith("escaped"))
    assert is_alive(pid)
    if is_stopped:
        installation.run("agent", "stop", f"{ROOM}/builder")
        installation.wait_for_status("builder", "stopped")
    else:
        journal.open_gate("gate")
        wait_until(lambda: installation.task(task)["status"] != "in_progress", "the run has ended")
    wait_until(lambda: not is_alive(pid), "the helper has ended")


def test_specs_changed_without_daemon_are_applied(installation: Installation) -> None:
    journal = start_builder(installation)
    installation.assign("reviewer")
    installation.wait_for_status("reviewer", "waiting")
    installation.run("daemon", "stop")
    wait_until(lambda: not installation.machine()["daemon_connected"], "the daemon is disconnected")
    task = installation.send("paint")
    to_reviewer = installation.run("agent", "stop", f"{ROOM}/reviewer")
    assert to_reviewer.code == 0
    for verb in ("stop", "start", "restart"):
        installation.run("agent", verb, f"{ROOM}/builder")
    assert_stays_true(lambda: not journal.lines(), "nothing runs without a daemon", 0.5)
    installation.start_daemon()
    installation.wait_for_task(task, "completed")
    assert [1] == journal.attempts("begins", task)
    assert_stays_true(lambda: installation.role("reviewer")["status"] == "stopped", "the reviewer stays stopped", 1.5)
    assert ["builder"] == [line["role"] for line in journal.lines("begins")]
    assert 1 == installation.api.count("agent.started")


def test_queued_messages_run_one_at_a_time_in_order(installation: Installation) -> None:
    journal = start_builder(installation)
    installation.run("room", "create", "busy", "--roles", "builder", "--max-requests", "9")
    installation.run(
        "agent", "set", "busy/builder", "--machine", installation.machine()["id"], "--harness", f"{ROOM}.builder"
    )
    sent = [f"job {number}" for number in range(5)]
    for text in sent:
        installation.api.post("rooms/busy/messages", sender="user", text=text)
    wait_until(lambda: len(journal.lines("ends")) == len(sent), "all are done")
    assert sent == [line["text"] for line in journal.lines("begins")]
    assert journal.runs_one_at_a_time("builder")
    wait_until(
        lambda: {each["status"] for each in installation.api.get("rooms/busy/tasks")} == {"completed"}, "all completed"
    )
