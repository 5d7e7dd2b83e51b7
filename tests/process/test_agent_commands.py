"""The commands of an agent, from claiming a task to completing it, as each output prints the next command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.process.installation import ROOM, Installation, interrupt
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


def claim_of(output: str) -> list[str]:
    found = re.search(r"greenroom task-started (--task \S+ --attempt \d+)", output)
    assert found, output
    return found[1].split()


def test_shell_script_from_claim_to_completion(installation: Installation) -> None:
    installation.run("send", ROOM, "paint the door")
    done = subprocess.run(
        ["sh", "-c", SCRIPT], env=installation.environment() | {"PYTHON": sys.executable}, cwd=installation.home,
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert "looks good" in done.stdout
    assert ["looks good"] == installation.messages_to_user()
    first, second = installation.api.get(f"rooms/{ROOM}/tasks")
    assert ("completed", "completed") == (first["status"], second["status"])
    assert first["request"] == second["request"]
    assert None not in (first["acknowledged_at"], first["started_at"], first["completed_at"])
    assert 1 == installation.api.count("task.progressed")


def test_json_output_from_claim_to_completion(installation: Installation) -> None:
    task = installation.send("paint the door")
    claimed = installation.run("wait-for-task", ROOM, "--role", "builder", "--json").data
    assert (task, "acknowledged", 1) == (claimed["task"]["id"], claimed["task"]["status"], claimed["task"]["attempt"])
    assert "token" not in claimed["task"]
    claim = ["--task", task, "--attempt", "1"]
    started = installation.run("task-started", *claim, "--json").data
    assert "in_progress" == started["task"]["status"]
    assert all(command.startswith("greenroom ") for command in started["next"].values())
    completed = installation.run("task-complete", *claim, "done", "--json").data
    assert ("completed", "done") == (completed["task"]["status"], completed["task"]["result"])
    assert ["done"] == [
        each["text"] for each in installation.run("messages", ROOM, "--json").data if each["to"] == "user"
    ]
    assert task == installation.run("task", "show", task, "--json").data["id"]
    assert [task] == [each["id"] for each in installation.run("task", "list", ROOM, "--json").data]
    assert ROOM == installation.run("room", "show", ROOM, "--json").data["name"]
    assert [] == installation.run("machine", "list", "--json").data
    watch = installation.start("watch", ROOM, "--from-start", "--json")
    wait_until(lambda: "task.completed" in watch.out, "`watch` prints the event")
    lines = [json.loads(line) for line in watch.out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))


def test_next_wait_keeps_participant(installation: Installation) -> None:
    for text in ("first", "second"):
        installation.send(text)
        claimed = installation.run("wait-for-task", ROOM, "--role", "builder", "--timeout", f"{PATIENCE_S}")
        assert text in claimed.out
        installation.run("task-complete", *claim_of(claimed.out), "done")
    first, second = installation.api.get(f"rooms/{ROOM}/tasks")
    assert first["last_holder"] == second["last_holder"]
    assert 1 == installation.api.count("participant.joined")


def test_wait_timeout_says_call_again_and_keeps_participant(installation: Installation) -> None:
    first = installation.run("wait-for-task", ROOM, "--role", "builder", "--timeout", "0.5", expect=75)
    assert "call again" in first.err
    assert "greenroom wait-for-task shop --role builder" in first.err
    connection_id = installation.participant()["connection_id"]
    task = installation.send("paint")
    installation.run("get-next-task", ROOM, "--role", "builder", "--timeout", f"{PATIENCE_S}")
    assert connection_id == installation.task(task)["claimed_by"]


def test_held_role_is_refused_without_take_over(installation: Installation) -> None:
    first = installation.start("wait-for-task", ROOM, "--role", "builder")
    connection_id = wait_until(installation.participant, "the first agent waits")["connection_id"]
    refused = installation.run("wait-for-task", ROOM, "--role", "builder", expect=4)
    assert connection_id in refused.err
    assert "call again" not in refused.out + refused.err
    assert connection_id == installation.participant()["connection_id"]

    second = installation.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert first.wait() == 4
    assert "Stop" in first.err
    assert "call again" not in first.err
    task = installation.send("paint")
    assert second.wait() == 0
    assert connection_id != installation.task(task)["claimed_by"]


def test_superseded_agent_cannot_complete_task(bare: Installation) -> None:
    # Nothing reports that the older agent has stopped.
    installation = bare.start_with_room(GREENROOM_TAKEOVER_GRACE_S="2")
    task = installation.send("paint")
    older = claim_of(installation.run("wait-for-task", ROOM, "--role", "builder").out)
    newer = claim_of(installation.run("wait-for-task", ROOM, "--role", "builder", "--take-over").out)
    assert ["--task", task, "--attempt", "1"] == older
    assert ["--task", task, "--attempt", "2"] == newer
    late = installation.run("task-complete", *older, "old work", expect=4)
    assert "late result" in late.err
    assert "call again" not in late.err
    installation.run("task-complete", *newer, "new work")
    assert ["new work"] == installation.messages_to_user()
    done = installation.task(task)
    assert ("new work", ["old work"]) == (done["result"], [each["text"] for each in done["late_results"]])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_wait_leaves(installation: Installation, number: signal.Signals) -> None:
    agent = installation.start("wait-for-task", ROOM, "--role", "builder")
    wait_until(installation.participant, "it waits")
    agent.send(number)
    assert agent.wait() == 130
    assert "next, to wait again: greenroom wait-for-task shop --role builder" in agent.err
    assert [] == installation.room()["participants"]
    assert "Traceback" not in agent.err


def test_task_is_given_back_when_stdout_fails(installation: Installation) -> None:
    task = installation.send("paint")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "greenroom", "wait-for-task", ROOM, "--role", "builder"],
            env=installation.environment(), cwd=installation.home, stdout=full, stderr=subprocess.PIPE,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1, done
    assert b"released" in done.stderr
    assert ("pending", 0) == (installation.task(task)["status"], installation.task(task)["failures"])


def test_decline_quarantines_task_until_retry(installation: Installation) -> None:
    task = installation.send("paint the sky")
    claimed = installation.run("wait-for-task", ROOM, "--role", "builder")
    installation.run("decline", *claim_of(claimed.out), "the sky is too high")
    assert ("quarantined", "declined: the sky is too high") == (
        installation.task(task)["status"],
        installation.task(task)["reason"],
    )
    installation.run("task", "retry", task)
    assert ("pending", 0) == (installation.task(task)["status"], installation.task(task)["failures"])


def test_exit_codes(installation: Installation) -> None:
    unreachable = "http://127.0.0.1:9"
    installation.run("wait-for-task", ROOM, expect=2)
    installation.run("nonsense", expect=2)
    installation.run("task-complete", "text", expect=2)
    installation.run("room", "show", "nowhere", expect=3)
    installation.run("wait-for-task", ROOM, "--role", "missing", expect=3)
    installation.run("room", "create", ROOM, "--roles", "builder", expect=4)
    installation.run("status", url=unreachable, expect=69, GREENROOM_TOKEN="any")
    installation.run("send", ROOM, "x", expect=69, url=unreachable)
    waited = installation.run(
        "wait-for-task", ROOM, "--role", "builder", url=unreachable, expect=69, GREENROOM_FIRST_CONTACT_S="1"
    )
    assert "9" in waited.err
    installation.run("status", expect=77, GREENROOM_TOKEN="wrong")
    installation.run("status", expect=78, GREENROOM_HEARTBEAT_TTL_S="2")
    installation.run("status", expect=78, GREENROOM_HEARTBEAT_INTERVAL_S="soon")
    assert 130 == interrupt_watch(installation)


def interrupt_watch(installation: Installation) -> int:
    watch = installation.start("watch", "--from-start")
    wait_until(lambda: "room.created" in watch.out or ROOM in watch.out, "`watch` prints an event")
    return interrupt(watch)
