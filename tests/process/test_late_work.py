"""A task is taken from its holder: the run is stopped, its output kept as a late result for the next holder."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.process.installation import RARE_HEARTBEATS, ROOM, Installation
from tests.process.processes import StartedProcess, find_processes
from tests.waiting import wait_until

pytestmark = pytest.mark.process

HALF = "half of the door is blue"
STUBBORN = f"cat >/dev/null; echo '{HALF}'; (trap '' TERM; sleep 600) & exec sleep 600"
"""A command that writes and then never ends; its child ignores SIGTERM."""
SHORT_TAKEOVER_GRACE = {"GREENROOM_TAKEOVER_GRACE_S": "2"}
"""For takeovers from a holder that never reports that it has stopped."""


def start_work(installation: Installation, **more: str) -> StartedProcess:
    return installation.start_work("sh", "-c", STUBBORN, **more)


def has_written(path: Path) -> bool:
    return HALF in path.read_text("utf-8")


def begin_task(installation: Installation) -> str:
    """Give `work` a task; its command has written half of its result on return."""
    task = installation.send("paint the door")
    wait_until(
        lambda: has_written(installation.data_dir / "runs" / f"{task}.1" / "stdout"),
        "the command has written something",
    )
    return task


def write_painter_team(installation: Installation) -> Path:
    """Write a team file whose builder is that stubborn command, for a daemon."""
    config = installation.write_team()
    config.write_text(
        f'[room]\nname = "{ROOM}"\nroles = ["builder", "reviewer"]\n'
        f'[agents.builder]\ncommand = ["sh", "-c", """{STUBBORN}"""]\n'
    )
    return config


def late_texts(installation: Installation, task: str) -> list[tuple[int, str]]:
    return [(late["attempt"], late["text"]) for late in installation.task(task)["late_results"]]


def wait_until_late(installation: Installation, task: str) -> None:
    wait_until(lambda: late_texts(installation, task) == [(1, HALF + "\n")], "the late result is stored")


def runs_of(installation: Installation, task: str, attempt: int | None = None) -> dict[int, str]:
    """The running processes of a task, or of one attempt at it: other installations run attempts, too."""
    mark = f"GREENROOM_ATTEMPT={attempt}" if attempt is not None else str(installation.root)
    of_attempt = find_processes(mark)
    return {pid: line for pid, line in find_processes(f"GREENROOM_TASK={task}").items() if pid in of_attempt}


def claim_of(output: str) -> list[str]:
    found = re.search(r"greenroom task-started (--task \S+ --attempt \d+)", output)
    assert found, output
    return found[1].split()


@pytest.mark.parametrize("verb", ["cancel", "reset"])
def test_cancel_and_reset_stop_run_and_keep_output(installation: Installation, verb: str) -> None:
    work = start_work(installation)
    task = begin_task(installation)
    installation.run("task", verb, task, "--reason", "no more paint")
    wait_until_late(installation, task)
    wait_until(lambda: f"{task} (attempt 1): The task was" in work.err, "`work` prints why")
    assert ("cancelled (no more paint)" if verb == "cancel" else "released: reset") in work.err
    assert {} == {pid: line for pid, line in runs_of(installation, task, 1).items() if "sleep" in line}
    assert work.poll() is None
    if verb == "cancel":
        installation.run("task", "accept", task, "--attempt", "1")
        accepted = installation.task(task)
        assert ("completed", 1, HALF + "\n") == (accepted["status"], accepted["accepted_attempt"], accepted["result"])


def test_accepted_late_result_stops_newer_run(installation: Installation) -> None:
    start_work(installation)
    task = begin_task(installation)
    installation.run("task", "reset", task)
    wait_until_late(installation, task)
    wait_until(lambda: has_written(installation.data_dir / "runs" / f"{task}.2" / "stdout"), "the next attempt writes")
    shown = installation.run("status").out
    assert f"Task {task} for builder has 1 late result" in shown
    assert f"greenroom task show {task}" in shown
    assert f"greenroom task accept {task} --attempt 1" in installation.run("task", "show", task).out
    installation.run("task", "accept", task, "--attempt", "1")
    assert "late_result" not in [need["kind"] for need in installation.run("status", "--json").data["needs"]]
    wait_until(lambda: not runs_of(installation, task, 2), "the newer run is stopped")
    done = installation.task(task)
    assert ("completed", 1, HALF + "\n") == (done["status"], done["accepted_attempt"], done["result"])
    wait_until(lambda: installation.participant("builder"), "the agent is present again")


def test_takeover_waits_for_old_run_and_sees_its_output(installation: Installation) -> None:
    work = start_work(installation)
    task = begin_task(installation)
    newer = installation.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert work.wait() == 4
    assert "call again" not in work.err
    assert newer.wait() == 0, "the report that the old run is stopped ends the wait, not its timeout"
    assert HALF in newer.out
    assert [(1, HALF + "\n")] == late_texts(installation, task)
    assert {} == runs_of(installation, task, 1)
    events = [event["type"] for event in installation.api.events() if event["data"].get("task") == task]
    assert events.index("task.late_result") < len(events) - 1 - events[::-1].index("task.claimed")


def test_takeover_of_daemon_run(installation: Installation) -> None:
    installation.start_daemon(config=write_painter_team(installation))
    machine = installation.machine()["id"]
    installation.run("agent", "set", f"{ROOM}/builder", "--machine", machine, "--harness", f"{ROOM}.builder")
    task = installation.send("paint the door")
    folder = installation.data_dir / "logs" / ROOM / "builder" / f"{task}.1"
    wait_until(lambda: has_written(folder / "stdout"), "the command has written something")
    newer = installation.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert newer.wait() == 0, "the report that the old run is stopped ends the wait, not its timeout"
    assert HALF in newer.out
    assert [(1, HALF + "\n")] == late_texts(installation, task)
    assert {} == runs_of(installation, task, 1)
    assert 2 == installation.task(task)["attempt"]


def test_daemon_with_rare_heartbeats_learns_of_takeover(bare: Installation) -> None:
    """Otherwise its run would continue beside the new one, from the end of the takeover wait to its next heartbeat."""
    bare.durations |= RARE_HEARTBEATS
    installation = bare.start_with_room()
    installation.start_daemon(config=write_painter_team(installation))
    installation.run(
        "agent", "set", f"{ROOM}/builder", "--machine", installation.machine()["id"], "--harness", f"{ROOM}.builder"
    )
    task = installation.send("paint the door")
    folder = installation.data_dir / "logs" / ROOM / "builder" / f"{task}.1"
    wait_until(lambda: has_written(folder / "stdout"), "the command has written something")
    newer = installation.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert newer.wait() == 0
    assert {} == runs_of(installation, task, 1), "the old run is stopped before the new one begins"
    assert HALF in newer.out


def test_suspended_holder_stops_after_takeover(bare: Installation) -> None:
    installation = bare.start_with_room(**SHORT_TAKEOVER_GRACE)
    work = start_work(installation)
    task = begin_task(installation)
    work.send(signal.SIGSTOP)
    newer = installation.run("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert 2 == installation.task(task)["attempt"]
    assert len(runs_of(installation, task, 1)) >= 2, "the old run is not stopped yet"
    work.send(signal.SIGCONT)
    assert work.wait() == 4
    assert {} == runs_of(installation, task, 1)
    assert [(1, HALF + "\n")] == late_texts(installation, task)
    installation.run("task-complete", *claim_of(newer.out), "new paint")
    assert ["new paint"] == installation.messages_to_user()


def test_cancelled_daemon_run_keeps_participant(installation: Installation) -> None:
    installation.start_daemon(config=write_painter_team(installation))
    machine = installation.machine()["id"]
    installation.run("agent", "set", f"{ROOM}/builder", "--machine", machine, "--harness", f"{ROOM}.builder")
    task = installation.send("paint the door")
    wait_until(
        lambda: has_written(installation.data_dir / "logs" / ROOM / "builder" / f"{task}.1" / "stdout"),
        "the command writes",
    )
    installation.run("task", "cancel", task)
    wait_until_late(installation, task)
    assert {} == runs_of(installation, task)
    again = installation.send("paint the window")
    wait_until(lambda: installation.task(again)["status"] == "in_progress", "the same participant has the next task")
    assert 1 == installation.api.count("participant.joined")


def test_handoff_of_superseded_agent_is_late_result(bare: Installation) -> None:
    installation = bare.start_with_room(**SHORT_TAKEOVER_GRACE)
    task = installation.send("paint the door")
    older = claim_of(installation.run("wait-for-task", ROOM, "--role", "builder").out)
    newer = claim_of(installation.run("wait-for-task", ROOM, "--role", "builder", "--take-over").out)
    assert older != newer
    refused = installation.run("handoff", "--to", "reviewer", *older, "-", text="old paint\n", expect=4)
    assert "late result" in refused.err
    assert "call again" not in refused.out + refused.err
    installation.run("handoff", "--to", "reviewer", *newer, "-", text="new paint\n")
    done = installation.task(task)
    assert ("completed", "new paint", 2) == (done["status"], done["result"], done["accepted_attempt"])
    assert [(1, "old paint")] == late_texts(installation, task)
    again = installation.run("handoff", "--to", "reviewer", *newer, "-", text="new paint\n")
    assert "is completed, handed to reviewer" in again.out
    assert [(1, "old paint")] == late_texts(installation, task), "a repeated result is answered, and not stored again"
    assert 2 == len(installation.api.get(f"rooms/{ROOM}/tasks"))


def test_repeated_completion_is_stored_once(installation: Installation) -> None:
    task = installation.send("paint the door")
    claim = claim_of(installation.run("wait-for-task", ROOM, "--role", "builder").out)
    for _ in range(2):
        assert "is completed" in installation.run("task-complete", *claim, "blue").out
    assert ["blue"] == installation.messages_to_user()
    installation.run("task-complete", "blue", expect=2)
    over = installation.run("report-progress", *claim, "more", expect=4)
    assert "over" in over.err
    assert [] == installation.task(task)["late_results"]


def test_agents_stay_in_renamed_room(bare: Installation) -> None:
    installation = bare.start_with_room(GREENROOM_HEARTBEAT_INTERVAL_S="2")
    waiting = installation.start("wait-for-task", ROOM, "--role", "reviewer")
    work = start_work(installation)
    task = begin_task(installation)
    wait_until(lambda: installation.participant("reviewer"), "the reviewer waits")
    installation.run("room", "change", ROOM, "--name", "studio")
    # Wait for a heartbeat of each: both have sent requests about the room since.
    before = installation.api.get("rooms/studio")["participants"]
    wait_until(
        lambda: have_beaten(before, installation.api.get("rooms/studio")["participants"]), "both continue to beat"
    )
    installation.api.post("rooms/studio/messages", sender="user", text="look at the fence", to="reviewer")
    installation.run("task", "cancel", task)
    assert waiting.wait() == 0
    assert "look at the fence" in waiting.out
    assert work.poll() is None
    wait_until(lambda: not runs_of(installation, task, 1), "the run is stopped")


def have_beaten(before: list[dict[str, str]], now: list[dict[str, str]]) -> bool:
    ready_before = {each["role"]: each["ready_until"] for each in before}
    return len(now) == 2 and all(each["ready_until"] > ready_before[each["role"]] for each in now)


def test_work_with_rare_heartbeats_learns_of_takeover(bare: Installation) -> None:
    """The ordinary interval between heartbeats is longer than the takeover wait."""
    beats = {"GREENROOM_HEARTBEAT_INTERVAL_S": "400"}
    installation = bare.start_with_room(**beats, GREENROOM_TAKEOVER_GRACE_S="300")
    work = start_work(installation, **beats)
    begin_task(installation)
    newer = installation.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert work.wait() == 4
    assert newer.wait() == 0
    assert HALF in newer.out, "the old run was stopped and its output stored before the next attempt began"
