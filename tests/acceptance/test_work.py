"""`greenroom work`: any command becomes an agent, and whatever ends it leaves neither a task nor a process behind."""

from __future__ import annotations

import signal
import sys
import time

import pytest

from tests.acceptance.house import HAND, QUICK, ROOM, House
from tests.acceptance.journal import Journal
from tests.acceptance.processes import Started, is_alive, with_mark
from tests.acceptance.waiting import wait_until

pytestmark = pytest.mark.process

SLACK_S = 1.0


def start_work(house: House, *command: str, role: str = "builder", **environ: str) -> Started:
    words = command or (sys.executable, str(HAND))
    work = house.start("work", ROOM, "--role", role, "--", *words, HAND_FOLDER=str(house.hands), **environ)
    wait_until(lambda: house.seat(role), "it has sat down")
    return work


def test_a_chain_of_commands(house: House) -> None:
    start_work(house)
    start_work(house, "tr", "a-z", "A-Z", role="reviewer")
    for text in ("paint", "sand"):
        house.run("send", ROOM, text)
    wait_until(lambda: len(house.heard_by_user()) == 2, "both are answered")
    assert ["DID PAINT\n", "DID SAND\n"] == house.heard_by_user()
    assert 2 == house.api.count("participant.joined")


def test_a_command_that_fails_is_run_again_and_its_last_words_are_kept(house: House) -> None:
    start_work(house)
    task = house.send("fail:1 paint")
    assert (2, 1) == (house.wait_for_task(task, "completed")["attempt"], house.task(task)["deaths"])
    causes = [event["cause"] for event in house.api.events() if event["type"] == "task.released"]
    assert 1 == len(causes)
    assert "the saw broke on attempt 1" in causes[0]


def test_a_command_that_handed_off_itself_adds_nothing(house: House) -> None:
    start_work(house)
    start_work(house, "cat", role="reviewer")
    task = house.send("own:reviewer")
    assert "by my own call" == house.wait_for_task(task, "completed")["result"]
    Journal(house.hands).wait_for("handed off with 0", task=task)
    Journal(house.hands).wait_for("ends", task=task)
    house.wait_for_task(house.send("paint"), "completed")
    texts = [each["text"] for each in house.api.get(f"rooms/{ROOM}/messages") if each["sender"] == "builder"]
    assert ["by my own call", "did paint\n"] == texts


def test_an_output_past_the_limit_is_sent_by_its_head_and_tail(house: House) -> None:
    work = start_work(house)
    task = house.send("big")
    result = house.wait_for_task(task, "completed")["result"]
    assert len(result.encode()) <= 1024 * 1024
    assert result.startswith("headxxx")
    assert result.rstrip().endswith("did big")
    kept = house.data_dir / "runs" / f"{task}.1" / "stdout"
    assert str(kept) in result
    wait_until(lambda: str(kept) in work.err, "it says where the whole is")
    assert kept.stat().st_size > 3 * 1024 * 1024


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_work_that_is_ended_leaves_nothing(house: House, number: signal.Signals) -> None:
    work = start_work(house)
    task = house.send("fork hold:never")
    Journal(house.hands).wait_for("forked", task=task)
    wait_until(lambda: len(with_mark(f"GREENROOM_TASK={task}")) >= 4, "all three generations run, and the wrapper")
    work.send(number)
    assert work.wait() == 130
    assert {} == with_mark(f"GREENROOM_TASK={task}")
    left = house.task(task)
    assert ("pending", 0, "stopped") == (left["status"], left["deaths"], left["released_cause"])
    assert [] == house.room()["participants"]


def test_who_interrupts_twice_does_not_wait_for_a_stubborn_command(house: House) -> None:
    work = start_work(house, GREENROOM_STOP_GRACE_S="60", GREENROOM_TAKEOVER_GRACE_S="60")
    task = house.send("fork hold:never")
    wait_until(lambda: len(with_mark(f"GREENROOM_TASK={task}")) >= 4, "all three generations run, and the wrapper")
    began_at = time.monotonic()
    work.send(signal.SIGINT)
    time.sleep(0.5)
    work.send(signal.SIGINT)
    assert work.wait() == 130
    assert time.monotonic() - began_at < 30
    assert {} == with_mark(f"GREENROOM_TASK={task}")
    left = house.task(task)
    assert ("pending", 0, "stopped") == (left["status"], left["deaths"], left["released_cause"])
    assert [] == house.room()["participants"]


def test_a_command_gets_the_token_of_its_attempt_alone(house: House) -> None:
    start_work(house, "sh", "-c", "env; cat >/dev/null", role="reviewer")
    task = house.send("paint", to="reviewer")
    result = house.wait_for_task(task, "completed")["result"]
    told = dict(line.split("=", 1) for line in result.splitlines() if line.startswith("GREENROOM_"))
    assert (house.url, ROOM, "reviewer", task, "1") == tuple(
        told[f"GREENROOM_{name}"] for name in ("URL", "ROOM", "ROLE", "TASK", "ATTEMPT")
    )
    assert house.token not in result
    assert told["GREENROOM_TOKEN"]


def test_a_taken_over_work_stops_its_run(house: House) -> None:
    work = start_work(house)
    task = house.send("fork hold:never")
    Journal(house.hands).wait_for("forked", task=task)
    second = house.start("wait-for-task", ROOM, "--role", "builder", "--take-over")
    assert work.wait() == 4
    assert {} == {pid: line for pid, line in with_mark(f"GREENROOM_TASK={task}").items() if "hand.py" in line}
    assert second.wait() == 0
    assert 2 == house.task(task)["attempt"]


def test_a_cancelled_task_stops_its_run(house: House) -> None:
    work = start_work(house)
    task = house.send("hold:never")
    Journal(house.hands).wait_for("begins", task=task)
    house.run("task", "cancel", task, "--reason", "no more paint")
    wait_until(lambda: not with_mark(f"GREENROOM_TASK={task}"), "its run is ended")
    house.wait_for_task(house.send("sand"), "completed")
    assert work.poll() is None


def test_the_task_of_a_killed_work_is_another_s_after_its_silence(house: House) -> None:
    work, live = start_work(house), house.live()
    task = house.send("hold:never", to="builder")
    begun = Journal(house.hands).wait_for("begins", task=task)
    work.kill()
    killed_at = time.monotonic()
    wait_until(lambda: not is_alive(begun["pid"]), "nothing of its command outlives it")
    released = live.wait_for("task.released", task=task)
    assert "lost" == house.task(task)["released_cause"]
    durations = ("HEARTBEAT_TTL", "TASK_LOST_AFTER", "SWEEP_INTERVAL")
    limit_s = sum(float(QUICK[f"GREENROOM_{name}_S"]) for name in durations)
    assert released.at - killed_at <= limit_s + SLACK_S
    Journal(house.hands).open_gate("never")
    start_work(house)
    assert (2, 0) == (house.wait_for_task(task, "completed")["attempt"], house.task(task)["deaths"])
