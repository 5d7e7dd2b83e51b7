"""A daemon is killed while its agents work: the next daemon adopts their runs; nothing is lost or run twice."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.process.agent_journal import AgentJournal
from tests.process.api import ROUNDING_S, committed_at
from tests.process.installation import BASE_DURATIONS, LONG_STOP_GRACE, ROOM, SHORT_LEASES, Installation
from tests.process.processes import StartedProcess, find_processes, is_alive, kill_all
from tests.waiting import assert_stays_true, wait_until

pytestmark = pytest.mark.process

FREQUENT_HEARTBEATS = {"GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "2"}
"""For a server whose daemons learn by their next heartbeat, soon, that another daemon superseded them."""


def start_builder(installation: Installation, url: str | None = None) -> tuple[StartedProcess, AgentJournal]:
    daemon = installation.start_daemon(url)
    installation.assign("builder")
    installation.wait_for_status("builder", "waiting")
    return daemon, AgentJournal(installation.agent_folder)


def begin_task(installation: Installation, journal: AgentJournal, text: str) -> tuple[str, int]:
    """Send the builder a task and wait until its run has begun; return the task and the run's process id."""
    task = installation.send(text, to="builder")
    return task, int(journal.wait_for("begins", task=task)["pid"])


def start_daemon_without_server(installation: Installation, daemon: StartedProcess) -> StartedProcess:
    """Kill server and daemon, and start the next daemon without a server; it has adopted the run on return."""
    assert installation.server is not None
    installation.server.kill()
    daemon.kill()
    next_daemon = installation.start("daemon", "start", "--config", str(installation.write_team()))
    wait_until(lambda: "run adopted: " in next_daemon.err, "the run is adopted")
    return next_daemon


def shim_of(pid: int) -> int:
    """The shim: the process that started this one and leads its process group."""
    leader = os.getpgid(pid)
    assert leader != pid
    return leader


def event_data(installation: Installation, kind: str, task: str) -> list[dict[str, Any]]:
    """The data of a task's events of that type, oldest first."""
    return [
        each["data"] for each in installation.api.events() if each["type"] == kind and each["data"].get("task") == task
    ]


def reported_ends(installation: Installation, task: str, count: int) -> list[dict[str, Any]]:
    """The data of a task's `agent.exited` events, once there are `count` of them and no report is pending.

    A run completes its task by a call of its own; the daemon reports the run's end separately, and later.
    """
    wait_until(lambda: len(event_data(installation, "agent.exited", task)) >= count, f"{count} ends are reported")
    check_nothing_left(installation, task)
    return event_data(installation, "agent.exited", task)


def check_done_once(installation: Installation, journal: AgentJournal, task: str) -> None:
    """Assert that one run did the task, that its start and end were reported once, and that nothing of it is left."""
    done = installation.wait_for_task(task, "completed")
    ends = reported_ends(installation, task, 1)
    assert (1, 0, []) == (done["attempt"], done["failures"], done["late_results"])
    assert [1] == journal.attempts("begins", task)
    assert [1] == [each["attempt"] for each in event_data(installation, "agent.started", task)]
    assert [(1, True, 0)] == [(each["attempt"], each["intended"], each["code"]) for each in ends]


def check_released_by_exit(installation: Installation, task: str) -> None:
    """Assert that a task was released once, by the report of its run's end, without waiting for a lease to expire.

    The report also gives the end of the agent's backoff.
    """
    events = [each for each in installation.api.events() if each["data"].get("task") == task]
    (ended,) = (each for each in events if each["type"] == "agent.exited")
    (released,) = (each for each in events if each["type"] == "task.released")
    assert ended["pos"] < released["pos"]
    backoff_s = committed_at({"at": ended["data"]["until"]}) - committed_at(ended)
    assert backoff_s <= float(BASE_DURATIONS["GREENROOM_RESTART_BACKOFF_S_MAX"]) + ROUNDING_S


def check_nothing_left(installation: Installation, task: str) -> None:
    wait_until(lambda: not run_of(installation, task), "nothing of the run is left")
    data_dir = installation.data_dir
    for folder in ("runs", "outbox"):
        wait_until(lambda folder=folder: not list((data_dir / folder).glob("*.json")), f"{folder} is empty")  # type: ignore[misc]


def run_of(installation: Installation, task: str) -> list[int]:
    """The running processes of a task's runs."""
    return [pid for pid in find_processes(f"GREENROOM_TASK={task}") if pid in find_processes(str(installation.root))]


def recorded_run(installation: Installation) -> dict[str, Any]:
    """The only recorded run."""
    (path,) = (installation.data_dir / "runs").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def check_next_task(installation: Installation, journal: AgentJournal) -> None:
    """Assert that the builder does its next task as usual."""
    installation.assign("reviewer")  # so that the earlier request completes
    task = installation.send("one more", to="builder")
    assert 1 == installation.wait_for_task(task, "completed")["attempt"]
    assert [1] == journal.attempts("begins", task)


def test_next_daemon_watches_adopted_run(installation: Installation) -> None:
    daemon, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "hold:gate and paint")
    before = installation.participant()
    daemon.kill()
    installation.start_daemon()
    assert_stays_true(lambda: is_alive(pid), "the run goes on", 1.0)
    assert before["connection_id"] == installation.participant()["connection_id"]
    installation.wait_for_status("builder", "working")
    journal.open_gate("gate")
    check_done_once(installation, journal, task)
    check_next_task(installation, journal)
    assert 1 == installation.api.count("participant.joined", role="builder")


def test_result_of_run_ended_without_daemon(installation: Installation) -> None:
    daemon, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "hold:gate and paint")
    daemon.kill()
    journal.open_gate("gate")
    wait_until(lambda: not is_alive(pid), "the run ends")
    assert "in_progress" == installation.task(task)["status"]
    installation.start_daemon()
    check_done_once(installation, journal, task)
    check_next_task(installation, journal)


def test_run_failed_without_daemon_is_run_again(installation: Installation) -> None:
    daemon, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "hold:gate and fail:1")
    daemon.kill()
    journal.open_gate("gate")
    wait_until(lambda: not is_alive(pid), "the run ends")
    installation.start_daemon()
    done = installation.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["failures"])
    ends = reported_ends(installation, task, 2)
    assert [(1, False, 7), (2, True, 0)] == [(each["attempt"], each["intended"], each["code"]) for each in ends]


def test_run_adopted_after_lease_expired_resumes_task(bare: Installation) -> None:
    installation = bare.start_with_room(**SHORT_LEASES)
    event_reader = installation.event_reader()
    daemon, journal = start_builder(installation)
    task, _ = begin_task(installation, journal, "hold:gate and paint")
    daemon.kill()
    wait_until(lambda: not installation.machine()["daemon_connected"], "the machine is disconnected")
    installation.wait_for_task(task, "pending")
    position = installation.api.position()
    installation.start_daemon()
    event_reader.wait_for("task.resumed", after=position, task=task)
    journal.open_gate("gate")
    check_done_once(installation, journal, task)


def test_result_after_daemon_and_server_killed(installation: Installation) -> None:
    daemon, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "hold:gate and paint")
    next_daemon = start_daemon_without_server(installation, daemon)
    journal.open_gate("gate")
    wait_until(lambda: not is_alive(pid), "the run ends while the server is away")
    assert next_daemon.poll() is None
    installation.start_server()
    check_done_once(installation, journal, task)


def test_task_runs_again_after_daemon_and_shim_killed(installation: Installation) -> None:
    daemon, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "fork hold:gate and paint")
    wait_until(lambda: len(run_of(installation, task)) >= 4, "the run has a child and a grandchild")
    group = run_of(installation, task)
    daemon.kill()
    os.kill(shim_of(pid), signal.SIGKILL)
    installation.start_daemon()
    journal.wait_for("begins", task=task, attempt=2)
    check_released_by_exit(installation, task)
    assert [] == [each for each in group if is_alive(each)]
    journal.open_gate("gate")
    done = installation.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["failures"])
    ends = reported_ends(installation, task, 2)
    assert [(1, None, None)] == [(each["attempt"], each["code"], each["signal"]) for each in ends[:1]]
    assert [1, 2] == [each["attempt"] for each in ends]


def test_task_runs_again_after_all_killed(installation: Installation) -> None:
    _, journal = start_builder(installation)
    task, _ = begin_task(installation, journal, "hold:gate and paint")
    kill_all(str(installation.root))
    assert not find_processes(str(installation.root)), "no process is left"
    installation.start_server()
    installation.start_daemon()
    journal.wait_for("begins", task=task, attempt=2)
    journal.open_gate("gate")
    done = installation.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["failures"])
    assert [1, 2] == [each["attempt"] for each in reported_ends(installation, task, 2)]


def test_report_during_server_outage_survives_daemon_restart(
    installation: Installation,
) -> None:
    daemon, journal = start_builder(installation)
    task, _ = begin_task(installation, journal, "hold:gate and fail:1")
    assert installation.server is not None
    installation.server.kill()
    journal.open_gate("gate")
    journal.wait_for("fails", task=task)
    time.sleep(1.0)  # the daemon asks for the task's state, without an answer
    daemon.kill()
    installation.start("daemon", "start", "--config", str(installation.write_team()))
    time.sleep(0.5)
    installation.start_server()
    done = installation.wait_for_task(task, "completed")
    assert (2, 1) == (done["attempt"], done["failures"])
    assert [1, 2] == [each["attempt"] for each in reported_ends(installation, task, 2)]
    assert [1, 2] == journal.attempts("begins", task)


def test_stopped_daemon_leaves_nothing_to_adopt(installation: Installation) -> None:
    installation.durations |= LONG_STOP_GRACE
    _, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "hold:gate and paint")
    installation.run("daemon", "stop")
    assert not is_alive(pid)
    assert [] == run_of(installation, task)
    assert ("pending", 0, "stopped") == tuple(
        installation.task(task)[name] for name in ("status", "failures", "released_cause")
    )
    journal.open_gate("gate")
    installation.start_daemon()
    assert 2 == installation.wait_for_task(task, "completed")["attempt"]


def test_daemon_stopped_without_server_ends_adopted_run(installation: Installation) -> None:
    daemon, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "hold:gate and paint")
    start_daemon_without_server(installation, daemon)
    installation.run("daemon", "stop")
    wait_until(lambda: not is_alive(pid), "the run is stopped")
    installation.start_server()
    journal.open_gate("gate")
    installation.start_daemon()
    done = installation.wait_for_task(task, "completed")
    assert (2, 0) == (done["attempt"], done["failures"])
    assert [(1, True), (2, True)] == [
        (each["attempt"], each["intended"]) for each in reported_ends(installation, task, 2)
    ]


def test_failed_run_is_run_again_without_lease_expiry(installation: Installation) -> None:
    _, journal = start_builder(installation)
    task, pid = begin_task(installation, journal, "hold:gate and paint")
    os.kill(pid, signal.SIGKILL)
    journal.wait_for("begins", task=task, attempt=2)
    check_released_by_exit(installation, task)
    journal.open_gate("gate")
    installation.wait_for_task(task, "completed")


@pytest.mark.parametrize("suspended_part", ["daemon", "daemon-and-run"])
def test_suspended_daemon_reconnects(bare: Installation, suspended_part: str) -> None:
    installation = bare.start_with_room(**SHORT_LEASES)
    event_reader = installation.event_reader()
    daemon, journal = start_builder(installation)
    before = installation.participant()
    task, _ = begin_task(installation, journal, "hold:gate and paint")
    suspended = [daemon.pid] if suspended_part == "daemon" else [daemon.pid, *run_of(installation, task)]
    for each in suspended:
        os.kill(each, signal.SIGSTOP)
    wait_until(lambda: not installation.machine()["daemon_connected"], "the machine is disconnected")
    position = installation.api.position()
    for each in suspended:
        os.kill(each, signal.SIGCONT)
    event_reader.wait_for("machine.reconnected", after=position)
    assert before["connection_id"] == wait_until(installation.participant, "the builder is back")["connection_id"]
    journal.open_gate("gate")
    check_done_once(installation, journal, task)
    check_next_task(installation, journal)


def test_superseded_daemon_exits_with_guidance_for_copies(bare: Installation, tmp_path: Path) -> None:
    installation = bare.start_with_room(**FREQUENT_HEARTBEATS)
    daemon, _ = start_builder(installation)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("machine.json", "operator.token"):
        (copy / name).write_bytes((installation.data_dir / name).read_bytes())
    other = installation.start("daemon", "start", "--config", str(installation.write_team()), "--data-dir", str(copy))
    assert 4 == daemon.wait()
    assert f"remove {installation.data_dir / 'machine.json'}" in daemon.err
    assert other.poll() is None
    assert_stays_true(lambda: installation.machine()["daemon_connected"], "the newest daemon stays connected", 1.0)


def test_up_does_not_restart_superseded_daemon(bare: Installation, tmp_path: Path) -> None:
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


def test_run_is_adopted_by_one_daemon(installation: Installation) -> None:
    daemon, journal = start_builder(installation)
    task, _ = begin_task(installation, journal, "hold:gate and paint")
    assert (task, "builder") == (recorded_run(installation)["task"], recorded_run(installation)["role"])
    daemon.kill()
    arguments = ("daemon", "start", "--config", str(installation.write_team()))
    both = [installation.start(*arguments), installation.start(*arguments)]
    wait_until(lambda: any(each.poll() == 78 for each in both), "one of the daemons is rejected")
    journal.open_gate("gate")
    check_done_once(installation, journal, task)
    assert 1 == "".join(each.err for each in both).count("run adopted: ")
    assert f"{ROOM}/builder" in "".join(each.err for each in both)
