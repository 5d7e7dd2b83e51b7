"""What users do reaches the process of a working agent: a takeover, a note, a cancellation, a time limit."""

from __future__ import annotations

import time

import pytest

from tests.process.fleet.checks import ROUNDING_S
from tests.process.fleet.conftest import BuildFleet
from tests.process.fleet.fleet import MachineFleet
from tests.process.fleet.observation import seconds
from tests.process.fleet.recovery import check_runs_again, exits_of, report
from tests.process.installation import ROOM
from tests.process.processes import is_alive
from tests.waiting import wait_until

pytestmark = pytest.mark.process

LIMIT_S = 3.0


def test_takeover_waits_until_run_is_stopped(fleet: MachineFleet) -> None:
    """The new participant gets the task once the old run is known to have ended: the takeover's timeout is far longer.

    The daemon shows that in two ways, and the first counts: its heartbeats no longer name the participant, or it
    reports the exit.
    """
    run, *_ = fleet.begin_all("fork until:done")
    taken_at = time.time()
    taker = fleet.installation.start("wait-for-task", ROOM, "--role", run.role, "--take-over")
    assert 0 == taker.wait()
    [claimed] = fleet.events_of("task.claimed", task=run.task, attempt=2)
    report("a takeover: the task is reassigned", seconds(claimed["at"]) - taken_at)
    assert not is_alive(run.pid)
    exited = wait_until(lambda: exits_of(fleet, run), "the end of the run is reported")
    assert 1 == len(exited)
    assert seconds(exited[0]["data"]["at"]) <= seconds(claimed["at"]) + ROUNDING_S
    message = ("--task", run.task, "--attempt", "2", f"did {run.task} in attempt 2")
    fleet.installation.run("task-complete", *message)
    assert [2] == fleet.finish("done")[run.role]
    assert 0 == fleet.installation.task(run.task)["failures"]
    fleet.check()


def test_note_cancellation_and_timeout_reach_the_run(build_fleet: BuildFleet) -> None:
    """No heartbeat is due that would bring the news: the server notifies the daemon."""
    fleet = build_fleet()
    fleet.start(agents=3)
    fleet.assign("r2", fleet.machines[0], task_timeout_s=LIMIT_S)
    noted, cancelled = fleet.begin_all("write:9 until:done", roles=["r0", "r1"])

    noted_at = time.monotonic()
    fleet.installation.run("note", noted.task, "mind the step")
    wait_until(lambda: "mind the step" in fleet.diaries.runs(noted.task)[0].notes, "the agent reads it")
    report("a note: its agent can read it", time.monotonic() - noted_at)

    wait_until(lambda: fleet.diaries.now(cancelled).last_at > cancelled.began_at, "the agent has written its text")
    cancelled_at = time.monotonic()
    fleet.installation.run("task", "cancel", cancelled.task, "--reason", "enough")
    wait_until(lambda: not is_alive(cancelled.pid), "the run is stopped")
    report("a task cancelled: its run is stopped", time.monotonic() - cancelled_at)
    late = wait_until(
        lambda: fleet.installation.task(cancelled.task)["late_results"], "its output is kept as a late result"
    )
    assert ["xxxxxxxxx\n"] == [result["text"] for result in late]

    task = fleet.send("r2", "until:done")
    hangs = wait_until(lambda: fleet.diaries.runs(task), "a run begins within its limit")[0]
    wait_until(lambda: not is_alive(hangs.pid), "its time limit is over")
    check_runs_again(fleet, "a run over its time limit", hangs, fleet.diaries.now(hangs).last_at)
    [exited] = exits_of(fleet, hangs)
    [claimed] = fleet.events_of("task.claimed", task=task, attempt=hangs.attempt)
    assert f"did not end within its {LIMIT_S:g} s" in exited["data"]["detail"]
    assert seconds(exited["data"]["at"]) - seconds(claimed["at"]) >= LIMIT_S - ROUNDING_S
    fleet.assign("r2", fleet.machines[0])
    fleet.diaries.open_gate("done")
    assert [1] == fleet.finish()["r0"]
    assert fleet.installation.task(task)["failures"] >= 1
    fleet.check()
