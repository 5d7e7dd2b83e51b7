"""A task is taken from its holder: the run is stopped, its output kept as a late result for the next holder."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.house import ROOM, SELDOM, House
from tests.acceptance.processes import Started, with_mark
from tests.waiting import wait_until

pytestmark = pytest.mark.process

HALF = "half of the door is blue"
STUBBORN = f"cat >/dev/null; echo '{HALF}'; (trap '' TERM; sleep 600) & exec sleep 600"
"""A command that writes and then never ends; its child ignores SIGTERM."""
GUARD_ENDS_SOON = {"GREENROOM_TAKEOVER_GRACE_S": "2"}
"""For takeovers from a holder that never reports that it has stopped."""


def start_work(house: House, **more: str) -> Started:
    return house.start_work("sh", "-c", STUBBORN, **more)


def has_written(path: Path) -> bool:
    return HALF in path.read_text("utf-8")


def begin(house: House) -> str:
    """Give `work` a task; its command has written half of its result on return."""
    task = house.send("paint the door")
    wait_until(
        lambda: has_written(house.data_dir / "runs" / f"{task}.1" / "stdout"), "the command has written something"
    )
    return task


def painter(house: House) -> Path:
    """Write a team file whose builder is that stubborn command, for a daemon."""
    config = house.write_team()
    config.write_text(
        f'[room]\nname = "{ROOM}"\nroles = ["builder", "reviewer"]\n'
        f'[agents.builder]\ncommand = ["sh", "-c", """{STUBBORN}"""]\n'
    )
    return config


def late_texts(house: House, task: str) -> list[tuple[int, str]]:
    return [(late["attempt"], late["text"]) for late in house.task(task)["late_results"]]


def wait_until_late(house: House, task: str) -> None:
    wait_until(lambda: late_texts(house, task) == [(1, HALF + "\n")], "the late result is stored")


def runs_of(house: House, task: str, attempt: int | None = None) -> dict[int, str]:
    """The running processes of a task, or of one attempt at it: other installations run attempts, too."""
    mark = f"GREENROOM_ATTEMPT={attempt}" if attempt is not None else str(house.root)
    of_attempt = with_mark(mark)
    return {pid: line for pid, line in with_mark(f"GREENROOM_TASK={task}").items() if pid in of_attempt}


def claim_of(said: str) -> list[str]:
    found = re.search(r"greenroom task-started (--task \S+ --attempt \d+)", said)
    assert found, said
    return found[1].split()


@pytest.mark.parametrize("verb", ["cancel", "reset"])
def test_what_a_person_takes_away_is_stopped_and_kept(house: House, verb: str) -> None:
    work = start_work(house)
    task = begin(house)
    house.run("task", verb, task, "--reason", "no more paint")
    wait_until_late(house, task)
    wait_until(lambda: f"{task} (attempt 1): The task was" in work.err, "`work` prints why")
    assert ("cancelled (no more paint)" if verb == "cancel" else "taken back: reset") in work.err
    assert {} == {pid: line for pid, line in runs_of(house, task, 1).items() if "sleep" in line}
    assert work.poll() is None
    if verb == "cancel":
        house.run("task", "accept", task, "--attempt", "1")
        accepted = house.task(task)
        assert ("completed", 1, HALF + "\n") == (accepted["status"], accepted["accepted_attempt"], accepted["result"])


def test_a_late_result_that_is_accepted_stops_the_run_of_the_newer_attempt(house: House) -> None:
    start_work(house)
    task = begin(house)
    house.run("task", "reset", task)
    wait_until_late(house, task)
    wait_until(lambda: has_written(house.data_dir / "runs" / f"{task}.2" / "stdout"), "the next attempt writes")
    shown = house.run("status").out
    assert f"{task}: 1 late result" in shown
    assert f"greenroom task show {task}" in shown
    assert f"greenroom task accept {task} --attempt 1" in house.run("task", "show", task).out
    house.run("task", "accept", task, "--attempt", "1")
    assert ["1 late result"] != [need["detail"] for need in house.run("status", "--json").data["needs"]]
    wait_until(lambda: not runs_of(house, task, 2), "the newer run is stopped")
    done = house.task(task)
    assert ("completed", 1, HALF + "\n") == (done["status"], done["accepted_attempt"], done["result"])
    wait_until(lambda: house.seat("builder"), "the agent is present again")


def test_who_takes_over_waits_for_the_old_run_and_sees_what_it_had_written(house: House) -> None:
    work = start_work(house)
    task = begin(house)
    newer = house.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert work.wait() == 4
    assert "call again" not in work.err
    assert newer.wait() == 0, "the report that the old run is stopped ends the wait, not its timeout"
    assert HALF in newer.out
    assert [(1, HALF + "\n")] == late_texts(house, task)
    assert {} == runs_of(house, task, 1)
    events = [event["type"] for event in house.api.events() if event["data"].get("task") == task]
    assert events.index("task.late_result") < len(events) - 1 - events[::-1].index("task.claimed")


def test_a_daemon_s_run_is_taken_over_likewise(house: House) -> None:
    house.start_daemon(config=painter(house))
    machine = house.machine()["id"]
    house.run("agent", "set", f"{ROOM}/builder", "--machine", machine, "--harness", f"{ROOM}.builder")
    task = house.send("paint the door")
    folder = house.data_dir / "logs" / ROOM / "builder" / f"{task}.1"
    wait_until(lambda: has_written(folder / "stdout"), "the command has written something")
    newer = house.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert newer.wait() == 0, "the report that the old run is stopped ends the wait, not its timeout"
    assert HALF in newer.out
    assert [(1, HALF + "\n")] == late_texts(house, task)
    assert {} == runs_of(house, task, 1)
    assert 2 == house.task(task)["attempt"]


def test_a_daemon_that_beats_seldom_hears_of_it_at_once(bare: House) -> None:
    """Otherwise its run would continue beside the new one, from the end of the takeover wait to its next heartbeat."""
    bare.durations |= SELDOM
    house = bare.open()
    house.start_daemon(config=painter(house))
    house.run("agent", "set", f"{ROOM}/builder", "--machine", house.machine()["id"], "--harness", f"{ROOM}.builder")
    task = house.send("paint the door")
    folder = house.data_dir / "logs" / ROOM / "builder" / f"{task}.1"
    wait_until(lambda: has_written(folder / "stdout"), "the command has written something")
    newer = house.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert newer.wait() == 0
    assert {} == runs_of(house, task, 1), "the old run is stopped before the new one begins"
    assert HALF in newer.out


def test_a_holder_that_slept_through_it_stops_when_it_wakes(bare: House) -> None:
    house = bare.open(**GUARD_ENDS_SOON)
    work = start_work(house)
    task = begin(house)
    work.send(signal.SIGSTOP)
    newer = house.run("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert 2 == house.task(task)["attempt"]
    assert len(runs_of(house, task, 1)) >= 2, "the old run is not stopped yet"
    work.send(signal.SIGCONT)
    assert work.wait() == 4
    assert {} == runs_of(house, task, 1)
    assert [(1, HALF + "\n")] == late_texts(house, task)
    house.run("task-complete", *claim_of(newer.out), "new paint")
    assert ["new paint"] == house.heard_by_user()


def test_a_daemon_s_run_is_cancelled_and_its_seat_waits_for_more(house: House) -> None:
    house.start_daemon(config=painter(house))
    machine = house.machine()["id"]
    house.run("agent", "set", f"{ROOM}/builder", "--machine", machine, "--harness", f"{ROOM}.builder")
    task = house.send("paint the door")
    wait_until(
        lambda: has_written(house.data_dir / "logs" / ROOM / "builder" / f"{task}.1" / "stdout"), "the command writes"
    )
    house.run("task", "cancel", task)
    wait_until_late(house, task)
    assert {} == runs_of(house, task)
    again = house.send("paint the window")
    wait_until(lambda: house.task(again)["status"] == "in_progress", "the same participant has the next task")
    assert 1 == house.api.count("participant.joined")


def test_of_two_agents_of_one_role_the_older_one_s_text_is_a_late_result(bare: House) -> None:
    house = bare.open(**GUARD_ENDS_SOON)
    task = house.send("paint the door")
    older = claim_of(house.run("wait-for-task", ROOM, "--role", "builder").out)
    newer = claim_of(house.run("wait-for-task", ROOM, "--role", "builder", "--take-over").out)
    assert older != newer
    refused = house.run("handoff", "--to", "reviewer", *older, "-", text="old paint\n", expect=4)
    assert "late result" in refused.err
    assert "call again" not in refused.out + refused.err
    house.run("handoff", "--to", "reviewer", *newer, "-", text="new paint\n")
    done = house.task(task)
    assert ("completed", "new paint", 2) == (done["status"], done["result"], done["accepted_attempt"])
    assert [(1, "old paint")] == late_texts(house, task)
    again = house.run("handoff", "--to", "reviewer", *newer, "-", text="new paint\n")
    assert "is completed, handed to reviewer" in again.out
    assert [(1, "old paint")] == late_texts(house, task), "a repeated result is answered, and not stored again"
    assert 2 == len(house.api.get(f"rooms/{ROOM}/tasks"))


def test_a_result_is_handed_in_once_however_often_it_is_said(house: House) -> None:
    task = house.send("paint the door")
    claim = claim_of(house.run("wait-for-task", ROOM, "--role", "builder").out)
    for _ in range(2):
        assert "is completed" in house.run("task-complete", *claim, "blue").out
    assert ["blue"] == house.heard_by_user()
    house.run("task-complete", "blue", expect=2)
    over = house.run("report-progress", *claim, "more", expect=4)
    assert "over" in over.err
    assert [] == house.task(task)["late_results"]


def test_agents_stay_in_a_room_that_is_renamed(bare: House) -> None:
    house = bare.open(GREENROOM_HEARTBEAT_INTERVAL_S="2")
    waiting = house.start("wait-for-task", ROOM, "--role", "reviewer")
    work = start_work(house)
    task = begin(house)
    wait_until(lambda: house.seat("reviewer"), "the reviewer waits")
    house.run("room", "change", ROOM, "--name", "studio")
    # Wait for a heartbeat of each: both have sent requests about the room since.
    before = house.api.get("rooms/studio")["participants"]
    wait_until(lambda: later(before, house.api.get("rooms/studio")["participants"]), "both continue to beat")
    house.api.post("rooms/studio/messages", sender="user", text="look at the fence", to="reviewer")
    house.run("task", "cancel", task)
    assert waiting.wait() == 0
    assert "look at the fence" in waiting.out
    assert work.poll() is None
    wait_until(lambda: not runs_of(house, task, 1), "the run is stopped")


def later(before: list[dict[str, str]], now: list[dict[str, str]]) -> bool:
    was = {each["role"]: each["ready_until"] for each in before}
    return len(now) == 2 and all(each["ready_until"] > was[each["role"]] for each in now)


def test_work_that_beats_seldom_hears_of_a_takeover_before_the_guard_is_over(bare: House) -> None:
    """The ordinary interval between heartbeats is longer than the takeover wait."""
    beats = {"GREENROOM_HEARTBEAT_INTERVAL_S": "400"}
    house = bare.open(**beats, GREENROOM_TAKEOVER_GRACE_S="300")
    work = start_work(house, **beats)
    begin(house)
    newer = house.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert work.wait() == 4
    assert newer.wait() == 0
    assert HALF in newer.out, "the old run was stopped and its output stored before the next attempt began"
