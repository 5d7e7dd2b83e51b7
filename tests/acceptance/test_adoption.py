"""A daemon is killed while its agents work: the next daemon adopts their runs; nothing is lost or run twice."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.api import ROUNDED_S, instant
from tests.acceptance.house import CALM, LAPSING, LET_END, ROOM, House
from tests.acceptance.journal import Journal
from tests.acceptance.processes import Started, end_all, is_alive, with_mark
from tests.waiting import stays, wait_until

pytestmark = pytest.mark.process

HEARS_SOON = {"GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "2"}
"""For a server whose daemons learn by their next heartbeat, soon, that another daemon superseded them."""


def start_builder(house: House, url: str | None = None) -> tuple[Started, Journal]:
    daemon = house.start_daemon(url)
    house.wish("builder")
    house.wait_for_status("builder", "waiting")
    return daemon, Journal(house.hands)


def begin(house: House, journal: Journal, text: str) -> tuple[str, int]:
    """Send the builder a task and wait until its run has begun; return the task and the run's process id."""
    task = house.send(text, to="builder")
    return task, int(journal.wait_for("begins", task=task)["pid"])


def start_another_alone(house: House, daemon: Started) -> Started:
    """Kill server and daemon, and start the next daemon without a server; it has adopted the run on return."""
    assert house.server is not None
    house.server.kill()
    daemon.kill()
    again = house.start("daemon", "start", "--config", str(house.write_team()))
    wait_until(lambda: "run adopted: " in again.err, "the run is adopted")
    return again


def wrapper_of(pid: int) -> int:
    """The shim: the process that started this one and leads its process group."""
    leader = os.getpgid(pid)
    assert leader != pid
    return leader


def told(house: House, kind: str, task: str) -> list[dict[str, Any]]:
    """The data of a task's events of that type, oldest first."""
    return [each["data"] for each in house.api.events() if each["type"] == kind and each["data"].get("task") == task]


def ends_told(house: House, task: str, count: int) -> list[dict[str, Any]]:
    """The data of a task's `agent.exited` events, once there are `count` of them and no report is pending.

    A run completes its task by a call of its own; the daemon reports the run's end separately, and later.
    """
    wait_until(lambda: len(told(house, "agent.exited", task)) >= count, f"{count} ends are reported")
    check_nothing_left(house, task)
    return told(house, "agent.exited", task)


def check_done_once(house: House, journal: Journal, task: str) -> None:
    """Assert that one run did the task, that its start and end were reported once, and that nothing of it is left."""
    done = house.wait_for_task(task, "completed")
    ends = ends_told(house, task, 1)
    assert (1, 0, []) == (done["attempt"], done["deaths"], done["late_results"])
    assert [1] == journal.attempts("begins", task)
    assert [1] == [each["attempt"] for each in told(house, "agent.started", task)]
    assert [(1, True, 0)] == [(each["attempt"], each["intended"], each["code"]) for each in ends]


def check_released_by_its_end(house: House, task: str) -> None:
    """Assert that a task was released once, by the report of its run's end, without waiting for a lease to expire.

    The report also gives the end of the agent's backoff.
    """
    events = [each for each in house.api.events() if each["data"].get("task") == task]
    (ended,) = (each for each in events if each["type"] == "agent.exited")
    (released,) = (each for each in events if each["type"] == "task.released")
    assert ended["pos"] < released["pos"]
    rests_s = instant({"at": ended["data"]["until"]}) - instant(ended)
    assert rests_s <= float(CALM["GREENROOM_RESTART_PAUSE_S_MAX"]) + ROUNDED_S


def check_nothing_left(house: House, task: str) -> None:
    wait_until(lambda: not run_of(house, task), "nothing of the run is left")
    for folder in ("runs", "outbox"):
        wait_until(lambda folder=folder: not list((house.data_dir / folder).glob("*.json")), f"{folder} is empty")  # type: ignore[misc]


def run_of(house: House, task: str) -> list[int]:
    """The running processes of a task's runs."""
    return [pid for pid in with_mark(f"GREENROOM_TASK={task}") if pid in with_mark(str(house.root))]


def run_in_book(house: House) -> dict[str, Any]:
    """The only recorded run."""
    (path,) = (house.data_dir / "runs").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def works_for_the_next(house: House, journal: Journal) -> None:
    """Assert that the builder does its next task as usual."""
    house.wish("reviewer")  # so that the earlier request completes
    task = house.send("one more", to="builder")
    assert 1 == house.wait_for_task(task, "completed")["attempt"]
    assert [1] == journal.attempts("begins", task)


def test_a_run_that_works_on_is_watched_by_the_next_daemon(house: House) -> None:
    daemon, journal = start_builder(house)
    task, pid = begin(house, journal, "hold:gate and paint")
    before = house.seat()
    daemon.kill()
    house.start_daemon()
    stays(lambda: is_alive(pid), "the run goes on", 1.0)
    assert before["connection_id"] == house.seat()["connection_id"]
    house.wait_for_status("builder", "working")
    journal.open_gate("gate")
    check_done_once(house, journal, task)
    works_for_the_next(house, journal)
    assert 1 == house.api.count("participant.joined", role="builder")


def test_what_ended_while_no_daemon_was_there_is_handed_in(house: House) -> None:
    daemon, journal = start_builder(house)
    task, pid = begin(house, journal, "hold:gate and paint")
    daemon.kill()
    journal.open_gate("gate")
    wait_until(lambda: not is_alive(pid), "the run ends")
    assert "in_progress" == house.task(task)["status"]
    house.start_daemon()
    check_done_once(house, journal, task)
    works_for_the_next(house, journal)


def test_what_died_while_no_daemon_was_there_is_a_death_and_run_again(house: House) -> None:
    daemon, journal = start_builder(house)
    task, pid = begin(house, journal, "hold:gate and fail:1")
    daemon.kill()
    journal.open_gate("gate")
    wait_until(lambda: not is_alive(pid), "the run ends")
    house.start_daemon()
    done = house.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["deaths"])
    ends = ends_told(house, task, 2)
    assert [(1, False, 7), (2, True, 0)] == [(each["attempt"], each["intended"], each["code"]) for each in ends]


def test_a_daemon_that_was_away_for_longer_than_anybody_waits_comes_back_with_its_run(bare: House) -> None:
    house = bare.open(**LAPSING)
    live = house.live()
    daemon, journal = start_builder(house)
    task, _ = begin(house, journal, "hold:gate and paint")
    daemon.kill()
    wait_until(lambda: not house.machine()["daemon_connected"], "the machine is disconnected")
    house.wait_for_task(task, "pending")
    gone = house.api.position()
    house.start_daemon()
    live.wait_for("task.resumed", after=gone, task=task)
    journal.open_gate("gate")
    check_done_once(house, journal, task)


def test_daemon_and_server_are_killed_and_the_result_comes_when_both_are_back(house: House) -> None:
    daemon, journal = start_builder(house)
    task, pid = begin(house, journal, "hold:gate and paint")
    again = start_another_alone(house, daemon)
    journal.open_gate("gate")
    wait_until(lambda: not is_alive(pid), "the run ends while the server is away")
    assert again.poll() is None
    house.start_server()
    check_done_once(house, journal, task)


def test_daemon_and_wrapper_are_killed_and_the_task_is_run_again(house: House) -> None:
    daemon, journal = start_builder(house)
    task, pid = begin(house, journal, "fork hold:gate and paint")
    wait_until(lambda: len(run_of(house, task)) >= 4, "the run has a child and a grandchild")
    group = run_of(house, task)
    daemon.kill()
    os.kill(wrapper_of(pid), signal.SIGKILL)
    house.start_daemon()
    journal.wait_for("begins", task=task, attempt=2)
    check_released_by_its_end(house, task)
    assert [] == [each for each in group if is_alive(each)]
    journal.open_gate("gate")
    done = house.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["deaths"])
    ends = ends_told(house, task, 2)
    assert [(1, None, None)] == [(each["attempt"], each["code"], each["signal"]) for each in ends[:1]]
    assert [1, 2] == [each["attempt"] for each in ends]


def test_everything_is_killed_at_once_and_the_task_is_run_again(house: House) -> None:
    _, journal = start_builder(house)
    task, _ = begin(house, journal, "hold:gate and paint")
    end_all(str(house.root))
    assert not with_mark(str(house.root)), "no process is left"
    house.start_server()
    house.start_daemon()
    journal.wait_for("begins", task=task, attempt=2)
    journal.open_gate("gate")
    done = house.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["deaths"])
    assert [1, 2] == [each["attempt"] for each in ends_told(house, task, 2)]


def test_what_was_to_be_told_while_the_server_was_away_is_told_once_by_whichever_daemon(house: House) -> None:
    daemon, journal = start_builder(house)
    task, _ = begin(house, journal, "hold:gate and fail:1")
    assert house.server is not None
    house.server.kill()
    journal.open_gate("gate")
    journal.wait_for("fails", task=task)
    time.sleep(1.0)  # the daemon asks for the task's state, without an answer
    daemon.kill()
    house.start("daemon", "start", "--config", str(house.write_team()))
    time.sleep(0.5)
    house.start_server()
    done = house.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["deaths"])
    assert [1, 2] == [each["attempt"] for each in ends_told(house, task, 2)]
    assert [1, 2] == journal.attempts("begins", task)


def test_a_daemon_that_is_told_to_stop_leaves_nothing_to_adopt(house: House) -> None:
    house.durations |= LET_END
    _, journal = start_builder(house)
    task, pid = begin(house, journal, "hold:gate and paint")
    house.run("daemon", "stop")
    assert not is_alive(pid)
    assert [] == run_of(house, task)
    assert ("pending", 0, "stopped") == tuple(house.task(task)[name] for name in ("status", "deaths", "released_cause"))
    journal.open_gate("gate")
    house.start_daemon()
    assert 2 == house.wait_for_task(task, "completed")["attempt"]


def test_a_daemon_that_is_stopped_before_it_reached_its_server_ends_what_it_adopted(house: House) -> None:
    daemon, journal = start_builder(house)
    task, pid = begin(house, journal, "hold:gate and paint")
    start_another_alone(house, daemon)
    house.run("daemon", "stop")
    wait_until(lambda: not is_alive(pid), "the run is stopped")
    house.start_server()
    journal.open_gate("gate")
    house.start_daemon()
    done = house.wait_for_task(task, "completed")
    assert (2, 0) == (done["attempt"], done["deaths"])
    assert [(1, True), (2, True)] == [(each["attempt"], each["intended"]) for each in ends_told(house, task, 2)]


def test_a_run_that_died_is_run_again_at_once(house: House) -> None:
    _, journal = start_builder(house)
    task, pid = begin(house, journal, "hold:gate and paint")
    os.kill(pid, signal.SIGKILL)
    journal.wait_for("begins", task=task, attempt=2)
    check_released_by_its_end(house, task)
    journal.open_gate("gate")
    house.wait_for_task(task, "completed")


@pytest.mark.parametrize("who", ["a daemon", "everybody"])
def test_who_is_stopped_in_its_tracks_comes_back_by_itself(bare: House, who: str) -> None:
    house = bare.open(**LAPSING)
    live = house.live()
    daemon, journal = start_builder(house)
    before = house.seat()
    task, _ = begin(house, journal, "hold:gate and paint")
    frozen = [daemon.pid] if who == "a daemon" else [daemon.pid, *run_of(house, task)]
    for each in frozen:
        os.kill(each, signal.SIGSTOP)
    wait_until(lambda: not house.machine()["daemon_connected"], "the machine is disconnected")
    gone = house.api.position()
    for each in frozen:
        os.kill(each, signal.SIGCONT)
    live.wait_for("machine.reconnected", after=gone)
    assert before["connection_id"] == wait_until(house.seat, "the builder is back")["connection_id"]
    journal.open_gate("gate")
    check_done_once(house, journal, task)
    works_for_the_next(house, journal)


def test_a_daemon_whose_place_another_took_ends_and_says_what_a_copy_must_do(bare: House, tmp_path: Path) -> None:
    house = bare.open(**HEARS_SOON)
    daemon, _ = start_builder(house)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("machine.json", "operator.token"):
        (copy / name).write_bytes((house.data_dir / name).read_bytes())
    other = house.start("daemon", "start", "--config", str(house.write_team()), "--data-dir", str(copy))
    assert 4 == daemon.wait()
    assert f"remove {house.data_dir / 'machine.json'}" in daemon.err
    assert other.poll() is None
    stays(lambda: house.machine()["daemon_connected"], "the newest daemon stays connected", 1.0)


def test_up_keeps_its_server_and_does_not_start_a_daemon_again_whose_place_another_took(
    bare: House, tmp_path: Path
) -> None:
    up = bare.start_up(bare.write_team(), GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S="8")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("machine.json", "operator.token"):
        (copy / name).write_bytes((bare.data_dir / name).read_bytes())
    bare.start("daemon", "start", "--data-dir", str(copy))
    wait_until(lambda: "was superseded by another daemon" in up.err, "the daemon is superseded")
    assert 200 == bare.api.call("GET", "/healthz").status
    assert up.poll() is None
    assert 0 == up.err.count("restarted as process")


def test_one_run_is_never_adopted_by_two(house: House) -> None:
    daemon, journal = start_builder(house)
    task, _ = begin(house, journal, "hold:gate and paint")
    assert (task, "builder") == (run_in_book(house)["task"], run_in_book(house)["role"])
    daemon.kill()
    words = ("daemon", "start", "--config", str(house.write_team()))
    both = [house.start(*words), house.start(*words)]
    wait_until(lambda: any(each.poll() == 78 for each in both), "one of the daemons is rejected")
    journal.open_gate("gate")
    check_done_once(house, journal, task)
    assert 1 == "".join(each.err for each in both).count("run adopted: ")
    assert f"{ROOM}/builder" in "".join(each.err for each in both)
