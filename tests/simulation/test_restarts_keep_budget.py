"""One daemon's supervisor and restart state under any order of agent specs, starts and ends of agents, and reboots."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.supervisor import Supervisor
from greenroom.domain import restart_policy
from greenroom.domain.limits import DEFAULT_LIMITS, Limits
from greenroom.domain.restart_policy import RestartHistory
from greenroom.testing import MovedClock
from greenroom.wire.replies import Assignment, Assignments
from tests.simulation.restart_model import EPSILON_S, RestartModel

ROOM = "room_1"
ROLES = ("builder", "reviewer")
LIMITS = (
    DEFAULT_LIMITS,
    Limits(crash_loop_after_failures=1, crash_loop_probe_after_s=600.0),
    Limits(
        crash_loop_after_failures=2, crash_loop_window_s=60.0, crash_loop_probe_after_s=90.0, restart_backoff_s_max=20.0
    ),
    Limits(crash_loop_after_failures=4, crash_loop_window_s=600.0, crash_loop_probe_after_s=5.0),
)
SPANS_S = (0.2, 1.0, 5.0, 30.0, 60.0, 200.0, 299.0, 301.0, 700.0)
CLOCK_CHANGES_S = (-86_400.0, -100.0, 100.0, 86_400.0)
DESIRES = ("running", "running", "stopped")
FRACTIONS = st.floats(0, 1, exclude_max=True)
PAUSE_S_MAX = 1000.0
STEPS_MAX = 1000
WAKE_DELAY_S = 0.0137
"""Added to each wait. So no two failures are exactly one window apart, where rounding in the file would decide."""


class ScriptedRunner:
    """A role runner whose end the test decides."""

    def __init__(self, spec: Assignment, history: RestartHistory, on_end: Callable[[], None]) -> None:
        self.spec, self.history, self.on_end = spec, history, on_end
        self.is_stop_requested = False

    def start(self) -> None:
        pass

    def stop(self, reason: str) -> None:
        self.is_stop_requested = True

    def finish(self, reason: str) -> None:
        self.stop(reason)


class RestartsKeepBudget(RuleBasedStateMachine):
    """A computer with one data directory, on which successive daemons run the agents of two roles."""

    @initialize(limits=st.sampled_from(LIMITS))
    def begin(self, limits: Limits) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda file: None)  # Power failures are not simulated.
        self.folder = tempfile.TemporaryDirectory(prefix="greenroom-budget-")
        self.limits = limits
        self.model = RestartModel(limits)
        self.passed_s = 0.0
        self.boots = 0
        self.clock = MovedClock()
        self.specs: dict[str, Assignment] = {}
        self.assignments: dict[str, Assignment] | None = None
        self.runners: dict[str, ScriptedRunner] = {}
        for role in ROLES:
            self.write_spec(role, "running")
        self.start_daemon()

    def teardown(self) -> None:
        try:
            self.await_desired_state()
        finally:
            self.folder.cleanup()
            self.patch.undo()

    # Users and the server.

    @rule(
        role=st.sampled_from(ROLES),
        desired=st.sampled_from(["running", "running", "stopped"]),
        is_delivered=st.booleans(),
    )
    def set_spec(self, role: str, desired: str, is_delivered: bool) -> None:
        self.write_spec(role, desired)
        if is_delivered:
            self.deliver_assignments()

    @rule()
    def deliver_assignments(self) -> None:
        self.assignments = dict(self.specs)
        self.supervisor.replace_assignments(Assignments(version=1, assignments=tuple(self.specs.values())))
        self.step_supervisor()

    # Time, and the computer.

    @rule(span_s=st.sampled_from(SPANS_S), is_asleep=st.booleans())
    def pass_time(self, span_s: float, is_asleep: bool) -> None:
        """Time passes, and the supervisor steps when it is due; if the computer sleeps, when it wakes."""
        left_s = span_s
        while left_s > 0:
            step_s = left_s if is_asleep else min(left_s, self.step_supervisor())
            self.advance(step_s, is_asleep)
            left_s -= step_s
        self.step_supervisor()

    @rule(by_s=st.sampled_from(CLOCK_CHANGES_S))
    def set_wall_clock(self, by_s: float) -> None:
        self.clock.step_wall(by_s)
        self.step_supervisor()

    @rule(by_s=st.sampled_from(CLOCK_CHANGES_S))
    def kill_daemon(self, by_s: float) -> None:
        """The agents continue to run and the next daemon adopts them. Meanwhile the wall clock is set."""
        self.clock.step_wall(by_s)
        self.start_daemon()

    @precondition(lambda self: self.runners)
    @rule(fraction=FRACTIONS, data=st.data())
    def kill_daemon_during_failure_report(self, fraction: float, data: st.DataObject) -> None:
        runner = self.runners.pop(data.draw(st.sampled_from(sorted(self.runners))))
        self.record_failure(runner, fraction)
        self.start_daemon()

    @rule(away_s=st.sampled_from(SPANS_S), back_s=st.sampled_from([0.0, 10.0, 250.0, 86_400.0]), fraction=FRACTIONS)
    def reboot(self, away_s: float, back_s: float, fraction: float) -> None:
        """All processes end, and the wall clock may be wrong after the boot."""
        self.passed_s += away_s
        self.boots += 1
        self.clock = MovedClock(wall=self.clock.wall() + away_s - back_s, monotonic=7.0)
        self.model.set_clock_back(back_s, self.passed_s)
        self.start_daemon()
        for runner in list(self.runners.values()):
            self.record_failure(runner, fraction)
            self.end_run(runner)

    # Agents.

    @rule(role=st.sampled_from(ROLES), runs=st.lists(st.booleans(), min_size=1, max_size=6), fraction=FRACTIONS)
    def work(self, role: str, runs: list[bool], fraction: float) -> None:
        """Several runs that complete their task or fail; after a failure the agent is restarted if allowed."""
        for succeeds in runs:
            if role not in self.runners:
                self.pass_time(self.step_supervisor(), False)
            if role not in self.runners:
                return
            runner = self.runners[role]
            if succeeds:
                self.record(runner, restart_policy.record_success(runner.history, runner.spec.generation))
                self.model.record_success(role, runner.spec.generation)
                self.check(runner)
            else:
                self.record_failure(runner, fraction)
                self.end_run(runner)

    @precondition(lambda self: self.runners)
    @rule(data=st.data(), fraction=FRACTIONS)
    def hinder(self, data: st.DataObject, fraction: float) -> None:
        runner = self.draw_runner(data)
        arguments = (runner.spec.generation, self.clock.boottime(), fraction, self.limits)
        self.record(runner, restart_policy.record_failed_start(runner.history, *arguments, "There is no program x."))
        self.record_hold(runner, self.limits.restart_backoff_s_min)

    @precondition(lambda self: self.runners)
    @rule(data=st.data(), for_s=st.none() | st.floats(0, PAUSE_S_MAX))
    def hold_agent(self, data: st.DataObject, for_s: float | None) -> None:
        runner, now = self.draw_runner(data), self.clock.boottime()
        until = None if for_s is None else now + for_s
        self.record(runner, restart_policy.record_pause(runner.history, runner.spec.generation, now, until, "not now"))
        self.record_hold(runner, for_s)

    @precondition(lambda self: self.runners)
    @rule(data=st.data())
    def end_by_takeover(self, data: st.DataObject) -> None:
        runner, now = self.draw_runner(data), self.clock.boottime()
        self.record(runner, restart_policy.record_yield(runner.history, runner.spec.generation, now, self.limits))
        self.record_hold(runner, self.limits.daemon_heartbeat_interval_s)

    @precondition(lambda self: any(runner.is_stop_requested for runner in self.runners.values()))
    @rule()
    def finish_requested_stops(self) -> None:
        for runner in [runner for runner in self.runners.values() if runner.is_stop_requested]:
            self.end_run(runner)

    # Invariants.

    @invariant()
    def waits_end_or_need_user(self) -> None:
        now = self.clock.boottime()
        for role, spec in (self.assignments or {}).items():
            if spec.desired != "running" or role in self.runners:
                continue
            account = self.model.account_of(role, spec.generation)
            history = self.histories.get(ROOM, role)
            step = restart_policy.decide_step(True, spec.generation, None, history, now)
            assert step.action == restart_policy.WAIT, "no agent runs, and the supervisor waits for nothing"
            assert account.needs_user == (step.until is None) == ("until a user" in step.reason), step
            longest_s = max(PAUSE_S_MAX, self.limits.crash_loop_probe_after_s, self.limits.restart_backoff_s_max)
            assert step.until is None or now < step.until <= now + longest_s + EPSILON_S, step

    @invariant()
    def supervisor_knows_running_agents(self) -> None:
        assert self.supervisor.runners() == list(self.runners.values())

    @rule()
    def await_desired_state(self) -> None:
        """Without further changes all roles reach their desired state, and the supervisor does not busy-loop."""
        self.deliver_assignments()
        ends_at = (
            self.passed_s
            + max(PAUSE_S_MAX, self.limits.crash_loop_probe_after_s, self.limits.restart_backoff_s_max)
            + 1.0
        )
        for _ in range(STEPS_MAX):
            self.finish_requested_stops()
            wait_s = self.step_supervisor()
            if self.passed_s >= ends_at:
                break
            assert wait_s > 0, "the supervisor busy-loops without a change"
            self.advance(wait_s)
        assert self.passed_s >= ends_at
        for role, spec in self.specs.items():
            should_run = spec.desired == "running" and not self.model.account_of(role, spec.generation).needs_user
            runs = [self.runners[role].spec.generation] if role in self.runners else []
            assert runs == ([spec.generation] if should_run else []), f"{role}: {self.histories.get(ROOM, role)}"

    # Helpers.

    def write_spec(self, role: str, desired: str) -> None:
        before = self.specs.get(role)
        self.specs[role] = Assignment(
            room=ROOM,
            room_name="r",
            role=role,
            roles=ROLES,
            desired=desired,
            generation=1 if before is None else before.generation + 1,
            harness="h",
            model=None,
            workdir=None,
        )

    def start_daemon(self) -> None:
        """Start a daemon, which adopts the runs of the one before it before it knows the assignments."""
        boot = f"boot {self.boots}"
        self.histories = RestartStates(Path(self.folder.name) / "restart_state.json", boot, self.clock, self.limits)
        self.supervisor: Supervisor[ScriptedRunner] = Supervisor(
            self.make_runner, self.histories, self.clock, lambda: None
        )
        self.assignments = None
        for role, runner in self.runners.items():
            history = restart_policy.history_of_generation(self.histories.get(ROOM, role), runner.spec.generation)
            self.runners[role] = ScriptedRunner(runner.spec, history, partial(self.supervisor.remove_ended, ROOM, role))
            self.supervisor.adopt(self.runners[role])
        self.step_supervisor()

    def make_runner(self, spec: Assignment, history: RestartHistory, on_end: Callable[[], None]) -> ScriptedRunner:
        assert self.assignments is not None, "started before the assignments were known"
        assert self.assignments[spec.role] == spec, "started from an outdated agent spec"
        assert spec.desired == "running", "started although its desired state is stopped"
        assert spec.role not in self.runners, "two agents run in one role"
        self.model.record_start(spec.role, spec.generation, history.is_probe_run, self.passed_s)
        runner = self.runners[spec.role] = ScriptedRunner(spec, history, on_end)
        return runner

    def advance(self, span_s: float, is_asleep: bool = False) -> None:
        (self.clock.sleep if is_asleep else self.clock.advance)(span_s + WAKE_DELAY_S)
        self.passed_s += span_s + WAKE_DELAY_S

    def step_supervisor(self) -> float:
        return self.supervisor.step()

    def draw_runner(self, data: st.DataObject) -> ScriptedRunner:
        return self.runners[data.draw(st.sampled_from(sorted(self.runners)))]

    def record(self, runner: ScriptedRunner, history: RestartHistory) -> None:
        runner.history = history
        self.histories.record(ROOM, runner.spec.role, history)

    def record_failure(self, runner: ScriptedRunner, fraction: float) -> None:
        arguments = (runner.spec.generation, self.clock.boottime(), fraction, self.limits)
        self.record(runner, restart_policy.record_failure(runner.history, *arguments, "exit code 3"))
        self.model.record_failure(runner.spec.role, runner.spec.generation, self.passed_s)
        self.check(runner)

    def check(self, runner: ScriptedRunner) -> None:
        """Compare the recorded history of an agent with its account in the model."""
        history, account = runner.history, self.model.account_of(runner.spec.role, runner.spec.generation)
        assert history.is_probe_run == account.is_crash_looping, f"{history} but {account}"
        assert history.needs_user == account.needs_user, f"{history} but {account}"
        if history.hold == restart_policy.BACKING_OFF:
            assert history.hold_until is not None
            pause_s = history.hold_until - self.clock.boottime()
            assert self.limits.restart_backoff_s_min - EPSILON_S <= pause_s, "restarted too soon"
            assert pause_s <= self.limits.restart_backoff_s_max + EPSILON_S, "restarted too late"

    def record_hold(self, runner: ScriptedRunner, for_s: float | None) -> None:
        until = None if for_s is None else self.passed_s + for_s
        self.model.record_hold(runner.spec.role, runner.spec.generation, until)
        self.check(runner)
        self.end_run(runner)

    def end_run(self, runner: ScriptedRunner) -> None:
        del self.runners[runner.spec.role]
        runner.on_end()
        self.step_supervisor()


TestRestartsKeepBudget = RestartsKeepBudget.TestCase
TestRestartsKeepBudget.settings = settings(max_examples=100, stateful_step_count=40)
