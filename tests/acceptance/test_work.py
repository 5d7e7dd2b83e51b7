"""`greenroom work` runs any command as an agent, and leaves neither a held task nor a process behind when it ends."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.api import ROUNDED_S, instant
from tests.acceptance.house import LAPSING, ROOM, House
from tests.acceptance.journal import Journal
from tests.acceptance.processes import is_alive, with_mark
from tests.waiting import wait_until

pytestmark = pytest.mark.process


def test_a_chain_of_commands(house: House) -> None:
    house.start_work()
    house.start_work("tr", "a-z", "A-Z", role="reviewer")
    for text in ("paint", "sand"):
        house.run("send", ROOM, text)
    wait_until(lambda: len(house.heard_by_user()) == 2, "both requests are answered")
    assert ["DID PAINT\n", "DID SAND\n"] == house.heard_by_user()
    assert 2 == house.api.count("participant.joined")


def test_a_command_that_fails_is_run_again_and_its_last_words_are_kept(house: House) -> None:
    house.start_work()
    task = house.send("fail:1 paint")
    assert (2, 1) == (house.wait_for_task(task, "completed")["attempt"], house.task(task)["deaths"])
    causes = [event["cause"] for event in house.api.events() if event["type"] == "task.released"]
    assert 1 == len(causes)
    assert "the saw broke on attempt 1" in causes[0]


def test_a_command_that_handed_off_itself_adds_nothing(house: House) -> None:
    house.start_work()
    house.start_work("cat", role="reviewer")
    task = house.send("own:reviewer")
    assert "by my own call" == house.wait_for_task(task, "completed")["result"]
    Journal(house.hands).wait_for("handed off with 0", task=task)
    Journal(house.hands).wait_for("ends", task=task)
    house.wait_for_task(house.send("paint"), "completed")
    texts = [each["text"] for each in house.api.get(f"rooms/{ROOM}/messages") if each["sender"] == "builder"]
    assert ["by my own call", "did paint\n"] == texts


def test_an_output_past_the_limit_is_sent_by_its_head_and_tail(house: House) -> None:
    work = house.start_work()
    task = house.send("big")
    result = house.wait_for_task(task, "completed")["result"]
    assert len(result.encode()) <= 1024 * 1024
    assert result.startswith("headxxx")
    assert result.rstrip().endswith("did big")
    kept = house.data_dir / "runs" / f"{task}.1" / "stdout"
    assert str(kept) in result
    wait_until(lambda: str(kept) in work.err, "`work` prints the path of the whole output")
    assert kept.stat().st_size > 3 * 1024 * 1024


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_work_that_is_ended_leaves_nothing(house: House, number: signal.Signals) -> None:
    work = house.start_work()
    task = house.send("fork hold:never")
    Journal(house.hands).wait_for("forked", task=task)
    wait_until(
        lambda: len(with_mark(f"GREENROOM_TASK={task}")) >= 4, "the command, its child and grandchild, and the shim run"
    )
    work.send(number)
    assert work.wait() == 130
    assert {} == with_mark(f"GREENROOM_TASK={task}")
    left = house.task(task)
    assert ("pending", 0, "stopped") == (left["status"], left["deaths"], left["released_cause"])
    assert [] == house.room()["participants"]


def test_who_interrupts_twice_does_not_wait_for_a_stubborn_command(house: House) -> None:
    work = house.start_work(GREENROOM_STOP_GRACE_S="3600", GREENROOM_TAKEOVER_GRACE_S="3600")
    task = house.send("fork hold:never")
    obedient = int(Journal(house.hands).wait_for("forked", task=task)["pid"])
    wait_until(
        lambda: len(with_mark(f"GREENROOM_TASK={task}")) >= 4, "the command, its child and grandchild, and the shim run"
    )
    work.send(signal.SIGINT)
    wait_until(lambda: not is_alive(obedient), "SIGTERM is sent, and `work` waits for the stubborn processes")
    work.send(signal.SIGINT)
    assert work.wait() == 130
    assert {} == with_mark(f"GREENROOM_TASK={task}")
    left = house.task(task)
    assert ("pending", 0, "stopped") == (left["status"], left["deaths"], left["released_cause"])
    assert [] == house.room()["participants"]


def test_a_command_gets_the_token_of_its_attempt_alone(house: House) -> None:
    house.start_work("sh", "-c", "env; cat >/dev/null", role="reviewer")
    task = house.send("paint", to="reviewer")
    result = house.wait_for_task(task, "completed")["result"]
    told = dict(line.split("=", 1) for line in result.splitlines() if line.startswith("GREENROOM_"))
    assert (house.url, ROOM, "reviewer", task, "1") == tuple(
        told[f"GREENROOM_{name}"] for name in ("URL", "ROOM", "ROLE", "TASK", "ATTEMPT")
    )
    assert house.token not in result
    assert told["GREENROOM_TOKEN"]


def test_a_taken_over_work_stops_its_run(house: House) -> None:
    work = house.start_work()
    task = house.send("fork hold:never")
    Journal(house.hands).wait_for("forked", task=task)
    second = house.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert work.wait() == 4
    assert {} == {pid: line for pid, line in with_mark(f"GREENROOM_TASK={task}").items() if "hand.py" in line}
    assert second.wait() == 0
    assert 2 == house.task(task)["attempt"]


def test_a_cancelled_task_stops_its_run(house: House) -> None:
    work = house.start_work()
    task = house.send("hold:never")
    Journal(house.hands).wait_for("begins", task=task)
    house.run("task", "cancel", task, "--reason", "no more paint")
    wait_until(lambda: not with_mark(f"GREENROOM_TASK={task}"), "the run is ended")
    house.wait_for_task(house.send("sand"), "completed")
    assert work.poll() is None


def test_the_task_of_a_killed_work_is_another_s_after_its_silence(bare: House) -> None:
    house = bare.open(**LAPSING)
    work = house.start_work()
    task = house.send("hold:never", to="builder")
    begun = Journal(house.hands).wait_for("begins", task=task)
    lease_ends = wait_until(house.seat, "the participant is present")["ready_until"]
    work.kill()
    wait_until(lambda: not is_alive(begun["pid"]), "the command ends with `work`")
    assert "lost" == house.wait_for_task(task, "pending")["released_cause"]
    gone, released = (
        [event for event in house.api.events() if event["type"] == kind][-1]
        for kind in ("participant.expired", "task.released")
    )
    assert instant(gone) - instant({"at": lease_ends}) >= -ROUNDED_S
    assert instant(released) - instant(gone) >= float(LAPSING["GREENROOM_TASK_LOST_AFTER_S"]) - ROUNDED_S
    Journal(house.hands).open_gate("never")
    house.start_work()
    assert (2, 0) == (house.wait_for_task(task, "completed")["attempt"], house.task(task)["deaths"])
