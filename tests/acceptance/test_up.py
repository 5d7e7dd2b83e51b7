"""`greenroom up` restarts a killed server or daemon, and leaves no process behind when it ends itself."""

from __future__ import annotations

import os
import signal

import pytest

from tests.acceptance.house import ROOM, House, interrupt
from tests.acceptance.journal import Journal
from tests.acceptance.processes import Started, is_alive, with_mark
from tests.waiting import stays, wait_until

pytestmark = pytest.mark.process


def start_at_work(house: House) -> tuple[Started, str, Journal]:
    """Start `up` with a builder in the middle of a task, whose child and grandchild ignore SIGTERM."""
    up = house.start_up(house.write_team())
    journal = Journal(house.hands)
    task = house.send("fork hold:gate and paint")
    journal.wait_for("forked", task=task)
    wait_until(lambda: len(with_mark(f"GREENROOM_TASK={task}")) >= 4, "the run has a child and a grandchild")
    return up, task, journal


def test_a_killed_daemon_is_started_again_and_carries_the_run_on(bare: House) -> None:
    up, task, journal = start_at_work(bare)
    killed = bare.holder("daemon")
    group = list(with_mark(f"GREENROOM_TASK={task}"))
    os.kill(killed, signal.SIGKILL)
    bare.comes_back("daemon", killed)
    wait_until(lambda: "run adopted: " in up.err, "the next daemon has adopted the run")
    bare.wait_for_status("builder", "working")
    assert group == [pid for pid in group if is_alive(pid)], "no process of the run ended with its daemon"
    journal.open_gate("gate")
    assert 1 == bare.wait_for_task(task, "completed")["attempt"]
    wait_until(bare.heard_by_user, "the reviewer answers")
    assert 1 == len(bare.heard_by_user())
    assert ([1], [1]) == (journal.attempts("begins", task), journal.attempts("ends", task))
    assert up.poll() is None


def test_a_killed_server_is_started_again_and_everything_heals(bare: House) -> None:
    up, task, journal = start_at_work(bare)
    killed = bare.holder("server")
    os.kill(killed, signal.SIGKILL)
    bare.comes_back("server", killed)
    journal.open_gate("gate")
    assert 1 == bare.wait_for_task(task, "completed")["attempt"]
    wait_until(bare.heard_by_user, "the reviewer answers")
    for role in ("builder", "reviewer"):
        bare.wait_for_status(role, "waiting")
    assert 2 == len(journal.lines("begins"))
    assert 0 == bare.api.count("participant.expired")
    assert 2 == bare.api.count("server.started")
    assert up.poll() is None


def test_both_killed_at_once(bare: House) -> None:
    up, task, journal = start_at_work(bare)
    killed = {name: bare.holder(name) for name in ("server", "daemon")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in killed.items():
        bare.comes_back(name, pid)
    journal.open_gate("gate")
    assert 1 == bare.wait_for_task(task, "completed")["attempt"]
    wait_until(bare.heard_by_user, "the reviewer answers")
    assert [1] == journal.attempts("ends", task)
    assert up.poll() is None


def test_when_up_itself_is_killed_everything_ends(bare: House) -> None:
    up, _, _ = start_at_work(bare)
    up.kill()
    bare.nobody_left()


def test_ctrl_c_ends_everything_cleanly(bare: House) -> None:
    up, task, journal = start_at_work(bare)
    assert interrupt(up) == 130
    assert {} == with_mark(str(bare.root))
    assert "Traceback" not in up.err
    assert [] == journal.lines("ends")

    bare.start_up(bare.write_team())
    left = bare.task(task)
    assert left["deaths"] == 0, "an intended stop is not a failure"
    journal.open_gate("gate")
    assert 2 == bare.wait_for_task(task, "completed")["attempt"]


def test_sigterm_ends_everything_with_0(bare: House) -> None:
    up, _, _ = start_at_work(bare)
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    assert {} == with_mark(str(bare.root))


def test_a_second_one_on_the_same_data_directory_ends_with_78(bare: House) -> None:
    up = bare.start_up(bare.write_team())
    for words in (
        ("up", "--config", str(bare.write_team())),
        ("server", "--listen", "127.0.0.1:0"),
        ("daemon", "start"),
    ):
        second = bare.run(*words, expect=78)
        assert "already" in second.err, second
        assert str(bare.data_dir) in second.err
    assert up.poll() is None
    assert bare.room()["name"] == ROOM


def test_what_a_person_stopped_stays_stopped_when_it_comes_up_again(bare: House) -> None:
    up = bare.start_up(bare.write_team())
    bare.run("agent", "stop", f"{ROOM}/builder")
    bare.wait_for_status("builder", "stopped")
    assert interrupt(up) == 130
    bare.start_up(bare.write_team())
    bare.wait_for_task(bare.send("look around", to="reviewer"), "completed")  # so the daemon has read all assignments
    task = bare.send("paint")
    stays(lambda: bare.task(task)["status"] == "pending", "the task stays unclaimed", 1.0)
    assert "stopped" == bare.role()["status"]


def test_daemon_status_and_stop(bare: House) -> None:
    bare.start_server()
    bare.open_room()
    assert bare.run("daemon", "status", expect=3).code == 3
    daemon = bare.start_daemon()
    told = bare.run("daemon", "status", "--json").data
    assert (True, daemon.pid, True) == (told["running"], told["pid"], told["daemon_connected"])
    bare.run("daemon", "stop")
    assert daemon.wait() == 0
    assert not bare.machine()["daemon_connected"] or bare.run("daemon", "status", expect=3)
