"""Runs of a daemon are killed, stopped, or queue up: no process is left behind, and each task is done once."""

from __future__ import annotations

import os
import signal

import pytest

from tests.acceptance.house import ROOM, House
from tests.acceptance.journal import Journal
from tests.acceptance.processes import is_alive, with_mark
from tests.waiting import stays, wait_until

pytestmark = pytest.mark.process


def start_builder(house: House) -> Journal:
    house.start_daemon()
    house.wish("builder")
    house.wait_for_status("builder", "waiting")
    return Journal(house.hands)


def run_of(house: House, task: str) -> list[int]:
    """The running processes of a task's runs, the shims included."""
    return [pid for pid in with_mark(f"GREENROOM_TASK={task}") if pid in with_mark(str(house.root))]


def test_a_run_that_is_killed_is_run_again(house: House) -> None:
    journal = start_builder(house)
    task = house.send("fork hold:again and paint", to="builder")
    first = journal.wait_for("forked", task=task)
    wait_until(lambda: len(run_of(house, task)) >= 4, "the run has a child and a grandchild")
    group = run_of(house, task)
    os.kill(first["pid"], signal.SIGKILL)

    journal.wait_for("forked", task=task, attempt=2)
    assert [] == [pid for pid in group if is_alive(pid)]
    journal.open_gate("again")
    done = house.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["deaths"])
    assert [1, 2] == journal.attempts("begins", task)
    assert [2] == journal.attempts("ends", task)
    exits = [event for event in house.api.events() if event["type"] == "agent.exited"]
    assert [9] == [event["data"]["signal"] for event in exits if event["data"]["attempt"] == 1]
    wait_until(lambda: not run_of(house, task), "nothing of the second run is left")


def test_a_group_that_is_killed_whole_is_run_again(house: House) -> None:
    journal = start_builder(house)
    task = house.send("hold:again and paint")
    os.killpg(os.getpgid(journal.wait_for("begins", task=task)["pid"]), signal.SIGKILL)
    journal.wait_for("begins", task=task, attempt=2)
    journal.open_gate("again")
    assert 2 == house.wait_for_task(task, "completed")["attempt"]
    assert 1 == house.api.count("task.released", task=task)


def test_a_run_whose_wrapper_is_killed_is_ended_whole_and_run_again(house: House) -> None:
    journal = start_builder(house)
    task = house.send("fork hold:again and paint", to="builder")
    pid = journal.wait_for("forked", task=task)["pid"]
    wait_until(lambda: len(run_of(house, task)) >= 4, "the run has a child and a grandchild")
    group = run_of(house, task)
    os.kill(os.getpgid(pid), signal.SIGKILL)
    journal.wait_for("begins", task=task, attempt=2)
    assert [] == [pid for pid in group if is_alive(pid)]
    journal.open_gate("again")
    assert (2, 1) == (house.wait_for_task(task, "completed")["attempt"], house.task(task)["deaths"])
    (said,) = [event["cause"] for event in house.api.events() if event["type"] == "task.released"]
    assert "how the command ended is unknown" in said


def test_a_wrapper_that_stood_still_has_missed_nothing(house: House) -> None:
    journal = start_builder(house)
    task = house.send("hold:on and paint")
    wrapper = os.getpgid(journal.wait_for("begins", task=task)["pid"])
    os.kill(wrapper, signal.SIGSTOP)
    journal.open_gate("on")
    journal.wait_for("ends", task=task)
    stays(lambda: house.task(task)["status"] == "in_progress", "the end is not reported yet", 1.0)
    os.kill(wrapper, signal.SIGCONT)
    assert (1, 0) == (house.wait_for_task(task, "completed")["attempt"], house.task(task)["deaths"])


def test_nothing_of_a_command_outlives_a_work_that_is_killed(house: House) -> None:
    work = house.start_work()
    journal = Journal(house.hands)
    task = house.send("fork hold:again and paint")
    journal.wait_for("forked", task=task)
    wait_until(lambda: len(run_of(house, task)) >= 4, "the run has a child and a grandchild")
    work.kill()
    wait_until(lambda: not run_of(house, task), "nothing of the run is left")


def test_a_run_that_always_dies_is_put_into_quarantine(house: House) -> None:
    journal = start_builder(house)
    task = house.send("fail:99")
    quarantined = house.wait_for_task(task, "quarantined")
    assert 3 == quarantined["deaths"]
    assert "the saw broke on attempt 3" in quarantined["reason"]
    assert [1, 2, 3] == journal.attempts("fails", task)
    shown = house.run("status")
    assert task in shown.out or "quarantine" in shown.out


def test_an_agent_that_was_stopped_stays_stopped(house: House) -> None:
    journal = start_builder(house)
    house.run("agent", "stop", f"{ROOM}/builder", "--reason", "the paint is wet")
    house.wait_for_status("builder", "stopped")
    task = house.send("paint")
    stays(lambda: house.role()["status"] == "stopped", "it stays stopped", 5.0)
    assert [] == journal.lines()
    assert "pending" == house.task(task)["status"]
    assert "stopped" in house.run("status").out
    why = house.run("why", f"{ROOM}/builder").out
    assert "is stopped: the paint is wet" in why
    assert task in why
    house.run("agent", "start", f"{ROOM}/builder")
    assert 1 == house.wait_for_task(task, "completed")["attempt"]
    assert [1] == journal.attempts("begins", task)


def test_stopping_an_agent_at_work_ends_its_run(house: House) -> None:
    journal = start_builder(house)
    task = house.send("fork hold:never")
    journal.wait_for("forked", task=task)
    wait_until(lambda: len(run_of(house, task)) >= 4, "the run has a child and a grandchild")
    house.run("agent", "stop", f"{ROOM}/builder")
    house.wait_for_status("builder", "stopped")
    wait_until(lambda: not run_of(house, task), "nothing of the run is left")
    stopped = house.task(task)
    assert ("pending", 0, "stopped") == (stopped["status"], stopped["deaths"], stopped["released_cause"])


def test_what_was_wished_while_the_daemon_was_away_is_done_and_nothing_else(house: House) -> None:
    journal = start_builder(house)
    house.wish("reviewer")
    house.wait_for_status("reviewer", "waiting")
    house.run("daemon", "stop")
    wait_until(lambda: not house.machine()["daemon_connected"], "the daemon is disconnected")
    task = house.send("paint")
    to_reviewer = house.run("agent", "stop", f"{ROOM}/reviewer")
    assert to_reviewer.code == 0
    for verb in ("stop", "start", "restart"):
        house.run("agent", verb, f"{ROOM}/builder")
    stays(lambda: not journal.lines(), "nothing runs without a daemon", 0.5)
    house.start_daemon()
    house.wait_for_task(task, "completed")
    assert [1] == journal.attempts("begins", task)
    stays(lambda: house.role("reviewer")["status"] == "stopped", "the reviewer stays stopped", 1.5)
    assert ["builder"] == [line["role"] for line in journal.lines("begins")]
    assert 1 == house.api.count("agent.started")


def test_messages_at_once_are_done_one_by_one_in_order(house: House) -> None:
    journal = start_builder(house)
    house.run("room", "create", "busy", "--roles", "builder", "--max-requests", "9")
    house.run("agent", "set", "busy/builder", "--machine", house.machine()["id"], "--harness", f"{ROOM}.builder")
    sent = [f"job {number}" for number in range(5)]
    for text in sent:
        house.api.post("rooms/busy/messages", sender="user", text=text)
    wait_until(lambda: len(journal.lines("ends")) == len(sent), "all are done")
    assert sent == [line["text"] for line in journal.lines("begins")]
    assert journal.is_one_at_a_time("builder")
    wait_until(lambda: {each["status"] for each in house.api.get("rooms/busy/tasks")} == {"completed"}, "all completed")
