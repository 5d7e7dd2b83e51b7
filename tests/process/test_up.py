"""`greenroom up` restarts a killed server or daemon, and leaves no process behind when it ends itself."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, server_folder
from tests.process.agent_journal import AgentJournal
from tests.process.installation import ROOM, Installation, interrupt
from tests.process.processes import StartedProcess, find_processes, is_alive
from tests.waiting import assert_stays_true, wait_until

pytestmark = pytest.mark.process


def start_working(installation: Installation) -> tuple[StartedProcess, str, AgentJournal]:
    """Start `up` with a builder in the middle of a task, whose child and grandchild ignore SIGTERM."""
    up = installation.start_up(installation.write_team())
    journal = AgentJournal(installation.agent_folder)
    task = installation.send("fork hold:gate and paint")
    journal.wait_for("forked", task=task)
    wait_until(lambda: len(find_processes(f"GREENROOM_TASK={task}")) >= 4, "the run has a child and a grandchild")
    return up, task, journal


def test_killed_daemon_is_restarted_and_adopts_run(bare: Installation) -> None:
    up, task, journal = start_working(bare)
    killed = bare.process_id("daemon")
    group = list(find_processes(f"GREENROOM_TASK={task}"))
    os.kill(killed, signal.SIGKILL)
    bare.wait_until_replaced("daemon", killed)
    wait_until(lambda: "run adopted: " in up.err, "the next daemon has adopted the run")
    bare.wait_for_status("builder", "working")
    assert group == [pid for pid in group if is_alive(pid)], "no process of the run ended with its daemon"
    journal.open_gate("gate")
    assert 1 == bare.wait_for_task(task, "completed")["attempt"]
    wait_until(bare.messages_to_user, "the reviewer answers")
    assert 1 == len(bare.messages_to_user())
    assert ([1], [1]) == (journal.attempts("begins", task), journal.attempts("ends", task))
    assert up.poll() is None


def test_killed_server_is_restarted_and_all_reconnect(bare: Installation) -> None:
    up, task, journal = start_working(bare)
    killed = bare.process_id("server")
    os.kill(killed, signal.SIGKILL)
    bare.wait_until_replaced("server", killed)
    journal.open_gate("gate")
    assert 1 == bare.wait_for_task(task, "completed")["attempt"]
    wait_until(bare.messages_to_user, "the reviewer answers")
    for role in ("builder", "reviewer"):
        bare.wait_for_status(role, "waiting")
    assert 2 == len(journal.lines("begins"))
    assert 0 == bare.api.count("participant.expired")
    assert 2 == bare.api.count("server.started")
    assert up.poll() is None


def test_server_and_daemon_killed_at_once(bare: Installation) -> None:
    up, task, journal = start_working(bare)
    killed = {name: bare.process_id(name) for name in ("server", "daemon")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in killed.items():
        bare.wait_until_replaced(name, pid)
    journal.open_gate("gate")
    assert 1 == bare.wait_for_task(task, "completed")["attempt"]
    wait_until(bare.messages_to_user, "the reviewer answers")
    assert [1] == journal.attempts("ends", task)
    assert up.poll() is None


def test_killed_up_leaves_no_process(bare: Installation) -> None:
    up, _, _ = start_working(bare)
    up.kill()
    bare.wait_until_none_left()


def test_ctrl_c_ends_all_processes_with_130(bare: Installation) -> None:
    up, task, journal = start_working(bare)
    assert interrupt(up) == 130
    assert {} == find_processes(str(bare.root))
    assert "Traceback" not in up.err
    assert [] == journal.lines("ends")

    bare.start_up(bare.write_team())
    left = bare.task(task)
    assert left["failures"] == 0, "an intended stop is not a failure"
    journal.open_gate("gate")
    assert 2 == bare.wait_for_task(task, "completed")["attempt"]


def test_sigterm_ends_all_processes_with_0(bare: Installation) -> None:
    up, _, _ = start_working(bare)
    up.send(signal.SIGTERM)
    assert up.wait() == 0
    assert {} == find_processes(str(bare.root))


def test_second_process_on_data_directory_exits_with_78(bare: Installation) -> None:
    up = bare.start_up(bare.write_team())
    for arguments in (
        ("up", "--config", str(bare.write_team())),
        ("server", "--listen", "127.0.0.1:0"),
        ("daemon", "start"),
    ):
        second = bare.run(*arguments, expect=78)
        assert "already" in second.err, second
        assert str(bare.data_dir) in second.err
    assert up.poll() is None
    assert bare.room()["name"] == ROOM


def test_no_new_store_replaces_a_moved_one(bare: Installation) -> None:
    """The server is killed while its data directory is away: it waits until the directory is put back."""
    up = bare.start_up(bare.write_team())
    bare.send("paint")
    away = bare.data_dir.with_name("away")
    bare.data_dir.rename(away)
    os.kill(int((away / "server.lock").read_text().split()[0]), signal.SIGKILL)
    wait_until(lambda: "The store that this server used before is gone" in up.err, "the restarted server refuses")
    assert not (bare.data_dir / "greenroom.db").exists()
    assert up.poll() is None
    shutil.rmtree(bare.data_dir, ignore_errors=True)
    away.rename(bare.data_dir)
    messages = wait_until(lambda: bare.api.get(f"rooms/{ROOM}/messages"), "the server answers again")
    assert ["paint"] == [message["text"] for message in messages if message["sender"] == "user"]


def test_up_ends_when_its_database_is_removed(bare: Installation) -> None:
    up = bare.start_up(bare.write_team())
    for path in bare.data_dir.glob("greenroom.db*"):
        path.unlink()
    assert up.wait() == 78
    assert "The database was lost" in up.err
    assert [] == list(bare.data_dir.glob("greenroom.db*"))


def test_stopped_agent_stays_stopped_after_restart_of_up(bare: Installation) -> None:
    up = bare.start_up(bare.write_team())
    bare.run("agent", "stop", f"{ROOM}/builder")
    bare.wait_for_status("builder", "stopped")
    assert interrupt(up) == 130
    bare.start_up(bare.write_team())
    bare.wait_for_task(bare.send("look around", to="reviewer"), "completed")  # so the daemon has read all assignments
    task = bare.send("paint")
    assert_stays_true(lambda: bare.task(task)["status"] == "pending", "the task stays unclaimed", 1.0)
    assert "stopped" == bare.role()["status"]


def test_daemon_status_and_stop(bare: Installation) -> None:
    bare.start_server()
    bare.open_room()
    assert bare.run("daemon", "status", expect=3).code == 3
    daemon = bare.start_daemon()
    status = bare.run("daemon", "status", "--json").data
    assert (True, daemon.pid, True) == (status["running"], status["pid"], status["daemon_connected"])
    bare.run("daemon", "stop")
    assert daemon.wait() == 0
    assert not bare.machine()["daemon_connected"] or bare.run("daemon", "status", expect=3)


def test_up_waits_for_its_database(bare: Installation, tmp_path: Path) -> None:
    own_postgres = PostgresServer(server_folder(tmp_path))
    with own_postgres.database() as url:
        own_postgres.stop("fast")
        arguments = ("up", "--config", str(bare.write_team()), "--listen", "127.0.0.1:0")
        up = bare.start(*arguments, GREENROOM_DATABASE=url)
        wait_until(lambda: up.err_lines("greenroom server: waiting for its store"), "the server waits")
        doctor = bare.run("doctor", "--url", "http://127.0.0.1:1", expect=1)
        assert "waiting for its store: " in doctor.out
        own_postgres.start()
        wait_until(lambda: "Ctrl-C stops everything" in up.out, "everything is up")
        assert 1 == len(up.err_lines("greenroom server: waiting for its store"))
        assert [] == [line for line in up.err.splitlines() if "exited" in line]
        assert interrupt(up) == 130
    own_postgres.close()
