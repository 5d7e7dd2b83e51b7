"""`greenroom work` runs any command as an agent, and leaves neither a held task nor a process behind when it ends."""

from __future__ import annotations

import signal

import pytest

from tests.process.agent_journal import AgentJournal
from tests.process.api import ROUNDING_S, committed_at
from tests.process.installation import ROOM, SHORT_LEASES, Installation
from tests.process.processes import find_processes, is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process


def test_handoff_between_two_works(installation: Installation) -> None:
    installation.start_work()
    installation.start_work("tr", "a-z", "A-Z", role="reviewer")
    for text in ("paint", "sand"):
        installation.run("send", ROOM, text)
    wait_until(lambda: len(installation.messages_to_user()) == 2, "both requests are answered")
    assert ["DID PAINT\n", "DID SAND\n"] == installation.messages_to_user()
    assert 2 == installation.api.count("participant.joined")


def test_failed_command_is_run_again_with_stderr_in_cause(installation: Installation) -> None:
    installation.start_work()
    task = installation.send("fail:1 paint")
    assert (2, 1) == (installation.wait_for_task(task, "completed")["attempt"], installation.task(task)["failures"])
    causes = [event["cause"] for event in installation.api.events() if event["type"] == "task.released"]
    assert 1 == len(causes)
    assert "the saw broke on attempt 1" in causes[0]


def test_own_handoff_of_command_is_the_only_result(installation: Installation) -> None:
    installation.start_work()
    installation.start_work("cat", role="reviewer")
    task = installation.send("own:reviewer")
    assert "by my own call" == installation.wait_for_task(task, "completed")["result"]
    AgentJournal(installation.agent_folder).wait_for("handed off with 0", task=task)
    AgentJournal(installation.agent_folder).wait_for("ends", task=task)
    installation.wait_for_task(installation.send("paint"), "completed")
    texts = [each["text"] for each in installation.api.get(f"rooms/{ROOM}/messages") if each["sender"] == "builder"]
    assert ["by my own call", "did paint\n"] == texts


def test_output_over_limit_is_sent_as_head_and_tail(installation: Installation) -> None:
    work = installation.start_work()
    task = installation.send("big")
    result = installation.wait_for_task(task, "completed")["result"]
    assert len(result.encode()) <= 1024 * 1024
    assert result.startswith("headxxx")
    assert result.rstrip().endswith("did big")
    kept = installation.data_dir / "runs" / f"{task}.1" / "stdout"
    assert str(kept) in result
    wait_until(lambda: str(kept) in work.err, "`work` prints the path of the whole output")
    assert kept.stat().st_size > 3 * 1024 * 1024


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signalled_work_leaves_no_process_and_no_task(installation: Installation, number: signal.Signals) -> None:
    work = installation.start_work()
    task = installation.send("fork hold:never")
    AgentJournal(installation.agent_folder).wait_for("forked", task=task)
    wait_until(
        lambda: len(find_processes(f"GREENROOM_TASK={task}")) >= 4,
        "the command, its child and grandchild, and the shim run",
    )
    work.send(number)
    assert work.wait() == 130
    assert {} == find_processes(f"GREENROOM_TASK={task}")
    left = installation.task(task)
    assert ("pending", 0, "stopped") == (left["status"], left["failures"], left["released_cause"])
    assert [] == installation.room()["participants"]


def test_second_interrupt_kills_stubborn_command(installation: Installation) -> None:
    work = installation.start_work(GREENROOM_STOP_GRACE_S="3600", GREENROOM_TAKEOVER_GRACE_S="3600")
    task = installation.send("fork hold:never")
    agent = int(AgentJournal(installation.agent_folder).wait_for("forked", task=task)["pid"])
    wait_until(
        lambda: len(find_processes(f"GREENROOM_TASK={task}")) >= 4,
        "the command, its child and grandchild, and the shim run",
    )
    work.send(signal.SIGINT)
    wait_until(lambda: not is_alive(agent), "SIGTERM is sent, and `work` waits for the stubborn processes")
    work.send(signal.SIGINT)
    assert work.wait() == 130
    assert {} == find_processes(f"GREENROOM_TASK={task}")
    left = installation.task(task)
    assert ("pending", 0, "stopped") == (left["status"], left["failures"], left["released_cause"])
    assert [] == installation.room()["participants"]


def test_command_gets_attempt_token_only(installation: Installation) -> None:
    installation.start_work("sh", "-c", "env; cat >/dev/null", role="reviewer")
    task = installation.send("paint", to="reviewer")
    result = installation.wait_for_task(task, "completed")["result"]
    variables = dict(line.split("=", 1) for line in result.splitlines() if line.startswith("GREENROOM_"))
    assert (installation.url, ROOM, "reviewer", task, "1") == tuple(
        variables[f"GREENROOM_{name}"] for name in ("URL", "ROOM", "ROLE", "TASK", "ATTEMPT")
    )
    assert installation.token not in result
    assert variables["GREENROOM_TOKEN"]


def test_takeover_stops_run_of_work(installation: Installation) -> None:
    work = installation.start_work()
    task = installation.send("fork hold:never")
    AgentJournal(installation.agent_folder).wait_for("forked", task=task)
    second = installation.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert work.wait() == 4
    assert {} == {
        pid: line for pid, line in find_processes(f"GREENROOM_TASK={task}").items() if "scripted_agent.py" in line
    }
    assert second.wait() == 0
    assert 2 == installation.task(task)["attempt"]


def test_cancelled_task_stops_run_of_work(installation: Installation) -> None:
    work = installation.start_work()
    task = installation.send("hold:never")
    AgentJournal(installation.agent_folder).wait_for("begins", task=task)
    installation.run("task", "cancel", task, "--reason", "no more paint")
    wait_until(lambda: not find_processes(f"GREENROOM_TASK={task}"), "the run is ended")
    installation.wait_for_task(installation.send("sand"), "completed")
    assert work.poll() is None


def test_task_of_killed_work_is_released_after_lease(bare: Installation) -> None:
    installation = bare.start_with_room(**SHORT_LEASES)
    work = installation.start_work()
    task = installation.send("hold:never", to="builder")
    begin = AgentJournal(installation.agent_folder).wait_for("begins", task=task)
    lease_ends = wait_until(installation.participant, "the participant is present")["ready_until"]
    work.kill()
    wait_until(lambda: not is_alive(begin["pid"]), "the command ends with `work`")
    assert "lost" == installation.wait_for_task(task, "pending")["released_cause"]
    gone, released = (
        [event for event in installation.api.events() if event["type"] == kind][-1]
        for kind in ("participant.expired", "task.released")
    )
    assert committed_at(gone) - committed_at({"at": lease_ends}) >= -ROUNDING_S
    assert (
        committed_at(released) - committed_at(gone) >= float(SHORT_LEASES["GREENROOM_TASK_LOST_AFTER_S"]) - ROUNDING_S
    )
    AgentJournal(installation.agent_folder).open_gate("never")
    installation.start_work()
    assert (2, 0) == (installation.wait_for_task(task, "completed")["attempt"], installation.task(task)["failures"])
