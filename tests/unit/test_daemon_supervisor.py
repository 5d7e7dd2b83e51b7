import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from greenroom.daemon import supervisor
from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.supervisor import STEP_EVERY_S_MAX, Supervisor
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.domain.restart_policy import RestartHistory, record_failure, record_pause, record_yield
from greenroom.testing import MovedClock
from greenroom.wire.replies import Assignment, Assignments
from tests.waiting import PATIENCE_S

ROOM = "room_1"


def make_spec(role: str, desired: str = "running", generation: int = 1) -> Assignment:
    return Assignment(
        room=ROOM,
        room_name="r",
        role=role,
        roles=("builder", "reviewer"),
        desired=desired,
        generation=generation,
        harness="h",
        model=None,
        workdir=None,
    )


class FakeRunner:
    """A role runner that ends when the test calls `on_end`."""

    def __init__(self, spec: Assignment, history: RestartHistory, on_end: Callable[[], None]) -> None:
        self.spec, self.history, self.on_end = spec, history, on_end
        self.is_started = False
        self.reasons: list[str] = []
        self.finish_reasons: list[str] = []

    def start(self) -> None:
        self.is_started = True

    def stop(self, reason: str) -> None:
        self.reasons.append(reason)

    def finish(self, reason: str) -> None:
        self.finish_reasons.append(reason)


class SupervisingDaemon:
    """A supervisor under a moved clock, and every role runner that it made."""

    def __init__(self, folder: Path, clock: MovedClock | None = None) -> None:
        self.clock = clock or MovedClock()
        self.runners: list[FakeRunner] = []
        self.runner_made = threading.Event()
        self.histories = RestartStates(folder / "restart_state.json", "boot", self.clock, DEFAULT_LIMITS)
        self.supervisor: Supervisor[FakeRunner] = Supervisor(self.make, self.histories, self.clock, lambda: None)

    def make(self, spec: Assignment, history: RestartHistory, on_end: Callable[[], None]) -> FakeRunner:
        self.runners.append(FakeRunner(spec, history, on_end))
        self.runner_made.set()
        return self.runners[-1]

    def adopt(self, spec: Assignment) -> FakeRunner:
        history = self.histories.get(spec.room, spec.role)
        runner = FakeRunner(spec, history, partial(self.supervisor.remove_ended, spec.room, spec.role))
        self.supervisor.adopt(runner)
        return runner

    def assign(
        self, *roles: str, desired: str = "running", generation: int = 1, run_generation: int | None = None
    ) -> float:
        specs = tuple(
            msgspec.structs.replace(make_spec(role, desired, generation), run_generation=run_generation)
            for role in roles
        )
        self.supervisor.replace_assignments(Assignments(version=generation, assignments=specs))
        return self.supervisor.step()

    def end(self, runner: FakeRunner, history: RestartHistory) -> float:
        """End a role runner with that history. As in the daemon, the history is recorded before `on_end` is called."""
        self.histories.record(runner.spec.room, runner.spec.role, history)
        runner.on_end()
        return self.supervisor.step()

    def fail(self, runner: FakeRunner) -> float:
        now = self.clock.boottime()
        return self.end(
            runner, record_failure(runner.history, runner.spec.generation, now, 0.5, DEFAULT_LIMITS, "exit code 3")
        )

    def roles(self) -> list[str]:
        return [runner.spec.role for runner in self.supervisor.runners()]


@pytest.fixture
def daemon(tmp_path: Path) -> SupervisingDaemon:
    return SupervisingDaemon(tmp_path)


def test_desired_roles_start_once(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder", "reviewer")
    daemon.supervisor.step()
    assert daemon.roles() == ["builder", "reviewer"]
    assert [runner.is_started for runner in daemon.runners] == [True, True]


def test_stop_is_sent_once_and_role_stays_empty(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder")
    daemon.assign("builder", desired="stopped", generation=2)
    daemon.supervisor.step()
    assert daemon.runners[0].reasons == ["desired state is stopped"]
    daemon.runners[0].on_end()
    daemon.supervisor.step()
    assert daemon.roles() == []


def test_change_for_the_next_run_finishes_the_run(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder")
    daemon.assign("builder", generation=2, run_generation=1)
    [runner] = daemon.runners
    assert ([], {"the agent spec changed, for the next run"}) == (runner.reasons, set(runner.finish_reasons))
    daemon.assign("builder", generation=2, run_generation=2)
    assert ["the agent spec changed"] == runner.reasons, "a user does not want to wait after all"
    runner.on_end()
    daemon.supervisor.step()
    assert 2 == daemon.runners[-1].spec.generation


def test_removed_spec_stops_runner(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder", "reviewer")
    daemon.assign("reviewer")
    assert [runner.reasons for runner in daemon.runners] == [["desired state is stopped"], []]


def test_new_generation_starts_after_old_end(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder")
    daemon.assign("builder", generation=2)
    assert daemon.runners[0].reasons == ["the agent spec changed"]
    assert len(daemon.runners) == 1
    daemon.runners[0].on_end()
    daemon.supervisor.step()
    assert [runner.spec.generation for runner in daemon.runners] == [1, 2]


def test_outdated_specs_are_skipped(daemon: SupervisingDaemon) -> None:
    """A queue of commands would start, stop and start the agent again here, although they are outdated."""
    daemon.supervisor.replace_assignments(Assignments(version=1, assignments=()))
    for generation, desired in ((1, "running"), (2, "stopped"), (3, "running"), (4, "stopped")):
        spec = make_spec("builder", desired, generation)
        daemon.supervisor.replace_assignments(Assignments(version=generation, assignments=(spec,)))
    daemon.supervisor.step()
    assert daemon.runners == []


def test_failure_backs_off_then_restarts(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder")
    wait_s = daemon.fail(daemon.runners[0])
    assert wait_s == 1.5
    assert daemon.roles() == []
    daemon.clock.sleep(wait_s)  # time that a machine is suspended counts for a hold
    daemon.supervisor.step()
    assert daemon.roles() == ["builder"]
    assert daemon.runners[1].history.consecutive == 1


def test_intended_stop_counts_no_failure(daemon: SupervisingDaemon) -> None:
    """If it counted as a failure, the next start would wait, and the third one would be a crash loop."""
    for generation in range(1, 10, 2):
        daemon.assign("builder", generation=generation)
        daemon.assign("builder", desired="stopped", generation=generation + 1)
        runner = daemon.runners[-1]
        assert runner.reasons == ["desired state is stopped"]
        runner.on_end()
        daemon.supervisor.step()
    assert [runner.history for runner in daemon.runners] == [
        RestartHistory(generation=generation) for generation in range(1, 10, 2)
    ]


def test_crash_loop_gets_one_probe_run(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder")
    for _ in range(3):
        wait_s = daemon.fail(daemon.runners[-1])
        daemon.clock.advance(wait_s)
        daemon.supervisor.step()
    assert daemon.roles() == [], "crash-looping"
    for _ in range(10):
        daemon.clock.advance(daemon.supervisor.step())
    assert daemon.roles() == ["builder"], "the probe run"
    assert daemon.runners[-1].history.is_probe_run
    assert daemon.fail(daemon.runners[-1]) == STEP_EVERY_S_MAX
    daemon.clock.advance(1e7)
    daemon.assign("builder")
    assert len(daemon.runners) == 4
    daemon.assign("builder", generation=2)
    assert daemon.runners[-1].history == RestartHistory(generation=2)


def test_pause_ends_at_its_instant_or_by_user(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder", "reviewer")
    now = daemon.clock.boottime()
    daemon.end(daemon.runners[1], record_pause(RestartHistory(), 1, now, None, "the login is missing"))
    assert (
        daemon.end(daemon.runners[0], record_pause(RestartHistory(), 1, now, now + 40.0, "too many requests")) == 40.0
    )
    daemon.clock.advance(40.0)
    daemon.supervisor.step()
    assert daemon.roles() == ["builder"]


def test_no_assignments_yet_changes_nothing(daemon: SupervisingDaemon) -> None:
    """If no specs yet counted as empty specs, a new daemon would stop the runs it adopted before the first answer."""
    runner = daemon.adopt(make_spec("builder"))
    for _ in range(3):
        assert daemon.supervisor.step() == STEP_EVERY_S_MAX
        daemon.clock.advance(STEP_EVERY_S_MAX)
    assert daemon.roles() == ["builder"]
    assert runner.reasons == []
    daemon.fail(runner)
    daemon.clock.advance(600.0)
    daemon.supervisor.step()
    assert daemon.runners == []
    assert daemon.histories.get(ROOM, "builder").consecutive == 1, "the history is kept"


@pytest.mark.parametrize(
    ("roles", "desired", "generation", "reasons"),
    [
        (["builder"], "running", 1, []),
        (["builder"], "running", 2, ["the agent spec changed"]),
        (["builder"], "stopped", 2, ["desired state is stopped"]),
        ([], "running", 2, ["desired state is stopped"]),
    ],
)
def test_adopted_run_is_compared_with_assignments(
    daemon: SupervisingDaemon, roles: list[str], desired: str, generation: int, reasons: list[str]
) -> None:
    runner = daemon.adopt(make_spec("builder"))
    daemon.assign(*roles, desired=desired, generation=generation)
    daemon.supervisor.step()
    assert runner.reasons == reasons
    assert daemon.runners == [], "one role runner at a time"
    runner.on_end()
    daemon.supervisor.step()
    assert daemon.roles() == (["builder"] if desired == "running" and roles else [])


def test_restarted_daemon_keeps_holds(tmp_path: Path) -> None:
    """Without that, an agent that crashes its daemon is restarted as often as the daemon is."""
    first = SupervisingDaemon(tmp_path)
    first.assign("builder")
    for _ in range(3):
        first.clock.advance(first.fail(first.runners[-1]))
        first.supervisor.step()
    second = SupervisingDaemon(tmp_path, first.clock)
    second.assign("builder")
    assert second.runners == []
    second.clock.advance(DEFAULT_LIMITS.crash_loop_probe_after_s)
    second.supervisor.step()
    assert [runner.history.is_probe_run for runner in second.runners] == [True]
    second.fail(second.runners[0])
    third = SupervisingDaemon(tmp_path, first.clock)
    third.clock.advance(1e7)
    third.assign("builder")
    assert third.runners == []


def test_failure_recorded_before_kill_backs_off(tmp_path: Path) -> None:
    first = SupervisingDaemon(tmp_path)
    first.assign("builder")
    now = first.clock.boottime()
    first.histories.record(
        ROOM, "builder", record_failure(RestartHistory(), 1, now, 0.5, DEFAULT_LIMITS, "exit code 3")
    )
    second = SupervisingDaemon(tmp_path, first.clock)
    assert second.assign("builder") == pytest.approx(1.5)
    assert second.runners == []


def test_unassigned_role_loses_history(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder", "reviewer")
    daemon.fail(daemon.runners[1])
    daemon.assign("reviewer")
    assert daemon.histories.get(ROOM, "reviewer").consecutive == 1
    daemon.fail(daemon.runners[0])
    assert daemon.histories.get(ROOM, "builder") == RestartHistory()
    daemon.assign()
    assert daemon.histories.get(ROOM, "reviewer") == RestartHistory()


def test_status_is_logged_once_with_hold(daemon: SupervisingDaemon, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        daemon.assign("builder")
        daemon.fail(daemon.runners[0])
        for _ in range(5):
            daemon.clock.advance(0.1)
            daemon.supervisor.step()
    assert caplog.messages == [
        "agent status: r/builder: desired state is running",
        "agent status: r/builder: backing off: 1 failure: exit code 3 (until 2025-10-09T08:53:21.500Z)",
    ]


def test_concurrent_calls_start_one_runner(daemon: SupervisingDaemon) -> None:
    """Without one reconciler, several threads see a role without an agent, and each of them starts one."""
    barrier, roles = threading.Barrier(8), [f"r{number}" for number in range(30)]

    def assign_all() -> None:
        barrier.wait(PATIENCE_S)
        for _ in range(5):
            daemon.assign(*roles)

    threads = [threading.Thread(target=assign_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(runner.spec.role for runner in daemon.runners) == sorted(roles)


def test_yielded_role_is_retried_after_interval(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder")
    history = record_yield(RestartHistory(), 1, daemon.clock.boottime(), DEFAULT_LIMITS)
    assert daemon.end(daemon.runners[0], history) == DEFAULT_LIMITS.daemon_heartbeat_interval_s
    assert daemon.roles() == []
    daemon.clock.advance(DEFAULT_LIMITS.daemon_heartbeat_interval_s)
    daemon.supervisor.step()
    assert daemon.roles() == ["builder"]


def test_shutdown_stops_runners_and_starts_none(daemon: SupervisingDaemon) -> None:
    daemon.assign("builder", "reviewer")
    assert not daemon.supervisor.stop("the daemon was stopped", 0.0)
    assert [runner.reasons for runner in daemon.runners] == [["the daemon was stopped"]] * 2
    for runner in daemon.runners:
        runner.on_end()
    assert daemon.supervisor.stop("the daemon was stopped", 0.0)
    daemon.supervisor.step()
    assert len(daemon.runners) == 2


def test_shutdown_stops_adopted_before_assignments(daemon: SupervisingDaemon) -> None:
    runner = daemon.adopt(make_spec("builder"))
    assert not daemon.supervisor.stop("the daemon was stopped", 0.0)
    assert runner.reasons == ["the daemon was stopped"]


@pytest.fixture
def no_interval_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the supervisor's own interval so long that only a new event can wake it."""
    monkeypatch.setattr(supervisor, "STEP_EVERY_S_MAX", 10 * PATIENCE_S)


@pytest.mark.usefixtures("no_interval_step")
def test_new_assignments_wake_supervisor(daemon: SupervisingDaemon) -> None:
    daemon.supervisor.start()
    daemon.supervisor.replace_assignments(Assignments(version=1, assignments=(make_spec("builder"),)))
    assert daemon.runner_made.wait(PATIENCE_S)
    daemon.supervisor.stop("the test is over", 0.0)


@pytest.mark.usefixtures("no_interval_step")
def test_assignments_during_step_are_not_missed(daemon: SupervisingDaemon) -> None:
    assignments = Assignments(version=2, assignments=(make_spec("builder"),))
    original_step, thread = (
        daemon.supervisor.step,
        threading.Thread(target=daemon.supervisor.replace_assignments, args=(assignments,)),
    )

    def step_then_assign() -> float:
        wait_s = original_step()
        if thread.ident is None:
            thread.start()
            thread.join(0.2)
        return wait_s

    daemon.supervisor.step = step_then_assign  # type: ignore[method-assign]
    daemon.supervisor.replace_assignments(Assignments(version=1, assignments=()))
    daemon.supervisor.start()
    assert daemon.runner_made.wait(PATIENCE_S)
    daemon.supervisor.stop("the test is over", 0)
