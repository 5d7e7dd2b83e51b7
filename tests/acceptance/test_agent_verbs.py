"""The commands of an agent, from claiming a task to completing it, as each output prints the next command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.acceptance.house import ROOM, House, interrupt
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

SCRIPT = r"""
set -eu
greenroom() { "$PYTHON" -m greenroom "$@"; }
greenroom wait-for-task shop --role builder > task.txt
claim=$(sed -n 's/^  greenroom task-started \(--task [^ ]* --attempt [0-9]*\).*/\1/p' task.txt)
greenroom task-started $claim
greenroom report-progress $claim "sanded"
echo "the door is blue" | greenroom handoff --to reviewer $claim -
greenroom wait-for-task shop --role reviewer > task.txt
grep -q "the door is blue" task.txt
claim=$(sed -n 's/^  greenroom task-started \(--task [^ ]* --attempt [0-9]*\).*/\1/p' task.txt)
greenroom task-started $claim
greenroom task-complete $claim "looks good"
greenroom messages shop
"""


def claim_of(said: str) -> list[str]:
    found = re.search(r"greenroom task-started (--task \S+ --attempt \d+)", said)
    assert found, said
    return found[1].split()


def test_a_script_goes_the_whole_way(house: House) -> None:
    house.run("send", ROOM, "paint the door")
    done = subprocess.run(
        ["sh", "-c", SCRIPT], env=house.environment() | {"PYTHON": sys.executable}, cwd=house.home,
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "looks good" in done.stdout
    assert ["looks good"] == house.heard_by_user()
    first, second = house.api.get(f"rooms/{ROOM}/tasks")
    assert ("completed", "completed") == (first["status"], second["status"])
    assert first["request"] == second["request"]
    assert None not in (first["acknowledged_at"], first["started_at"], first["completed_at"])
    assert 1 == house.api.count("task.progressed")


def test_the_same_in_json(house: House) -> None:
    task = house.send("paint the door")
    taken = house.run("wait-for-task", ROOM, "--role", "builder", "--json").data
    assert (task, "acknowledged", 1) == (taken["task"]["id"], taken["task"]["status"], taken["task"]["attempt"])
    assert "token" not in taken["task"]
    claim = ["--task", task, "--attempt", "1"]
    started = house.run("task-started", *claim, "--json").data
    assert "in_progress" == started["task"]["status"]
    assert all(command.startswith("greenroom ") for command in started["next"].values())
    completed = house.run("task-complete", *claim, "done", "--json").data
    assert ("completed", "done") == (completed["task"]["status"], completed["task"]["result"])
    assert ["done"] == [each["text"] for each in house.run("messages", ROOM, "--json").data if each["to"] == "user"]
    assert task == house.run("task", "show", task, "--json").data["id"]
    assert [task] == [each["id"] for each in house.run("task", "list", ROOM, "--json").data]
    assert ROOM == house.run("room", "show", ROOM, "--json").data["name"]
    assert [] == house.run("machine", "list", "--json").data
    watch = house.start("watch", ROOM, "--from-start", "--json")
    wait_until(lambda: "task.completed" in watch.out, "`watch` prints the event")
    lines = [json.loads(line) for line in watch.out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))


def test_a_finished_agent_carries_its_sitting_on(house: House) -> None:
    for text in ("first", "second"):
        house.send(text)
        said = house.run("wait-for-task", ROOM, "--role", "builder", "--timeout", f"{PATIENCE_S}")
        assert text in said.out
        house.run("task-complete", *claim_of(said.out), "done")
    first, second = house.api.get(f"rooms/{ROOM}/tasks")
    assert first["last_holder"] == second["last_holder"]
    assert 1 == house.api.count("participant.joined")


def test_a_wait_that_is_over_says_to_call_again_and_is_carried_on(house: House) -> None:
    first = house.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "0.5", expect=75)
    assert "call again" in first.err
    assert "greenroom wait-for-task shop --role builder" in first.err
    sitting = house.seat()["connection_id"]
    task = house.send("paint")
    house.run("get-next-task", ROOM, "--role", "builder", "--timeout", f"{PATIENCE_S}")
    assert sitting == house.task(task)["claimed_by"]


def test_a_role_that_is_taken_is_not_taken_twice(house: House) -> None:
    first = house.start("wait-for-task", ROOM, "--role", "builder")
    sitting = wait_until(house.seat, "the first agent waits")["connection_id"]
    refused = house.run("wait-for-task", ROOM, "--role", "builder", expect=4)
    assert sitting in refused.err
    assert "call again" not in refused.out + refused.err
    assert sitting == house.seat()["connection_id"]

    second = house.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert first.wait() == 4
    assert "Stop" in first.err
    assert "call again" not in first.err
    task = house.send("paint")
    assert second.wait() == 0
    assert sitting != house.task(task)["claimed_by"]


def test_an_older_agent_cannot_complete_what_a_newer_one_was_given(bare: House) -> None:
    house = bare.open(GREENROOM_TAKEOVER_GRACE_S="2")  # nothing reports that the older agent has stopped
    task = house.send("paint")
    older = claim_of(house.run("wait-for-task", ROOM, "--role", "builder").out)
    newer = claim_of(house.run("wait-for-task", ROOM, "--role", "builder", "--take-over").out)
    assert ["--task", task, "--attempt", "1"] == older
    assert ["--task", task, "--attempt", "2"] == newer
    late = house.run("task-complete", *older, "old work", expect=4)
    assert "late result" in late.err
    assert "call again" not in late.err
    house.run("task-complete", *newer, "new work")
    assert ["new work"] == house.heard_by_user()
    done = house.task(task)
    assert ("new work", ["old work"]) == (done["result"], [each["text"] for each in done["late_results"]])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_wait_that_is_interrupted_leaves(house: House, number: signal.Signals) -> None:
    agent = house.start("wait-for-task", ROOM, "--role", "builder")
    wait_until(house.seat, "it waits")
    agent.send(number)
    assert agent.wait() == 130
    assert "to come back: greenroom wait-for-task shop --role builder" in agent.err
    assert [] == house.room()["participants"]
    assert "Traceback" not in agent.err


def test_a_task_that_cannot_be_printed_is_given_back(house: House) -> None:
    task = house.send("paint")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "greenroom", "wait-for-task", ROOM, "--role", "builder"],
            env=house.environment(), cwd=house.home, stdout=full, stderr=subprocess.PIPE,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1, done
    assert b"given back" in done.stderr
    assert ("pending", 0) == (house.task(task)["status"], house.task(task)["deaths"])


def test_declining_asks_for_a_person(house: House) -> None:
    task = house.send("paint the sky")
    said = house.run("wait-for-task", ROOM, "--role", "builder")
    house.run("decline", *claim_of(said.out), "the sky is too high")
    assert ("quarantined", "declined: the sky is too high") == (house.task(task)["status"], house.task(task)["reason"])
    house.run("task", "retry", task)
    assert ("pending", 0) == (house.task(task)["status"], house.task(task)["deaths"])


def test_exit_codes(house: House) -> None:
    nobody = "http://127.0.0.1:9"
    house.run("wait-for-task", ROOM, expect=2)
    house.run("nonsense", expect=2)
    house.run("task-complete", "text", expect=2)
    house.run("room", "show", "nowhere", expect=3)
    house.run("wait-for-task", ROOM, "--role", "missing", expect=3)
    house.run("room", "create", ROOM, "--roles", "builder", expect=4)
    house.run("status", url=nobody, expect=69, GREENROOM_TOKEN="any")
    house.run("send", ROOM, "x", expect=69, url=nobody)
    waited = house.run("wait-for-task", ROOM, "--role", "builder", url=nobody, expect=69, GREENROOM_FIRST_CONTACT_S="1")
    assert "9" in waited.err
    house.run("status", expect=77, GREENROOM_TOKEN="wrong")
    house.run("status", expect=78, GREENROOM_HEARTBEAT_TTL_S="2")
    house.run("status", expect=78, GREENROOM_HEARTBEAT_INTERVAL_S="soon")
    assert 130 == interrupt_watch(house)


def interrupt_watch(house: House) -> int:
    watch = house.start("watch", "--from-start")
    wait_until(lambda: "room.created" in watch.out or ROOM in watch.out, "`watch` prints an event")
    return interrupt(watch)
