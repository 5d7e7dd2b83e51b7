"""One daemon's supervisor and histories, with agents that end in every way, under every order of wishes and starts."""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.clock import MovedClock
from greenroom.daemon.histories import Histories
from greenroom.daemon.supervisor import Supervisor
from greenroom.domain import supervision
from greenroom.domain.reliability import DEFAULTS, Reliability
from greenroom.domain.supervision import History
from greenroom.wire.replies import Wish, Wishes
from tests.simulation.budget import EPSILON_S, Budget

ROOM = "room_1"
ROLES = ("builder", "reviewer")
LIMITS = (
    DEFAULTS,
    Reliability(park_after_ends=1, park_pause_s=600.0),
    Reliability(park_after_ends=2, park_window_s=60.0, park_pause_s=90.0, restart_pause_s_max=20.0),
    Reliability(park_after_ends=4, park_window_s=600.0, park_pause_s=5.0),
)
SPANS = (0.2, 1.0, 5.0, 30.0, 60.0, 200.0, 299.0, 301.0, 700.0)
LEAPS = (-86_400.0, -100.0, 100.0, 86_400.0)
DESIRES = ("running", "running", "stopped")
FRACTIONS = st.floats(0, 1, exclude_max=True)
PAUSE_S_MAX = 1000.0
LOOKS_MAX = 1000
LATE_S = 0.0137
"""Nobody wakes on the dot. So no two ends are just a window apart, where the last digit of a file decides."""


class Agent:
    """A seat whose end the test writes."""

    def __init__(self, wish: Wish, history: History, on_end: Callable[[], None]) -> None:
        self.wish, self.history, self.on_end = wish, history, on_end
        self.is_asked_to_stop = False

    def start(self) -> None:
        pass

    def stop(self, reason: str) -> None:
        self.is_asked_to_stop = True


class RestartsKeepBudget(RuleBasedStateMachine):
    """A computer with one data directory, on which one daemon after another keeps two roles."""

    @initialize(limits=st.sampled_from(LIMITS))
    def begin(self, limits: Reliability) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda file: None)  # No computer loses its power here.
        self.folder = tempfile.TemporaryDirectory(prefix="greenroom-budget-")
        self.limits = limits
        self.budget = Budget(limits)
        self.passed_s = 0.0
        self.boots = 0
        self.clock = MovedClock()
        self.wishes: dict[str, Wish] = {}
        self.heard: dict[str, Wish] | None = None
        self.alive: dict[str, Agent] = {}
        for role in ROLES:
            self.write_wish(role, "running")
        self.start_daemon()

    def teardown(self) -> None:
        try:
            self.all_come_to_rest()
        finally:
            self.folder.cleanup()
            self.patch.undo()

    # People and the server.

    @rule(
        role=st.sampled_from(ROLES), desired=st.sampled_from(["running", "running", "stopped"]), is_heard=st.booleans()
    )
    def wish(self, role: str, desired: str, is_heard: bool) -> None:
        self.write_wish(role, desired)
        if is_heard:
            self.hear()

    @rule()
    def hear(self) -> None:
        self.heard = dict(self.wishes)
        self.supervisor.take_wishes(Wishes(version=1, wishes=tuple(self.wishes.values())))
        self.look()

    # Time, and the computer.

    @rule(span_s=st.sampled_from(SPANS), is_asleep=st.booleans())
    def pass_time(self, span_s: float, is_asleep: bool) -> None:
        """Time passes, and the daemon looks when it said it would; if the computer sleeps, when that wakes."""
        left_s = span_s
        while left_s > 0:
            step_s = left_s if is_asleep else min(left_s, self.look())
            self.let_pass(step_s, is_asleep)
            left_s -= step_s
        self.look()

    @rule(by_s=st.sampled_from(LEAPS))
    def wall_clock_is_set(self, by_s: float) -> None:
        self.clock.leap(by_s)
        self.look()

    @rule(by_s=st.sampled_from(LEAPS))
    def daemon_is_killed(self, by_s: float) -> None:
        """Its agents live on, and the next daemon adopts them. Meanwhile somebody sets the clock."""
        self.clock.leap(by_s)
        self.start_daemon()

    @precondition(lambda self: self.alive)
    @rule(fraction=FRACTIONS, data=st.data())
    def daemon_is_killed_while_it_tells_of_a_death(self, fraction: float, data: st.DataObject) -> None:
        agent = self.alive.pop(data.draw(st.sampled_from(sorted(self.alive))))
        self.note_death(agent, fraction)
        self.start_daemon()

    @rule(away_s=st.sampled_from(SPANS), back_s=st.sampled_from([0.0, 10.0, 250.0, 86_400.0]), fraction=FRACTIONS)
    def computer_restarts(self, away_s: float, back_s: float, fraction: float) -> None:
        """All processes end with it, and its clock may come up wrong."""
        self.passed_s += away_s
        self.boots += 1
        self.clock = MovedClock(wall=self.clock.wall() + away_s - back_s, monotonic=7.0)
        self.budget.clock_was_set_back(back_s, self.passed_s)
        self.start_daemon()
        for agent in list(self.alive.values()):
            self.note_death(agent, fraction)
            self.get_up(agent)

    # What becomes of agents.

    @rule(role=st.sampled_from(ROLES), runs=st.lists(st.booleans(), min_size=1, max_size=6), fraction=FRACTIONS)
    def work(self, role: str, runs: list[bool], fraction: float) -> None:
        """One run after another, that do their task or die; in between it is restarted, if it may be."""
        for does_its_task in runs:
            if role not in self.alive:
                self.pass_time(self.look(), False)
            if role not in self.alive:
                return
            agent = self.alive[role]
            if does_its_task:
                self.note(agent, supervision.succeeded(agent.history, agent.wish.generation))
                self.budget.succeeded(role, agent.wish.generation)
                self.check(agent)
            else:
                self.note_death(agent, fraction)
                self.get_up(agent)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), fraction=FRACTIONS)
    def be_hindered(self, data: st.DataObject, fraction: float) -> None:
        agent = self.draw_agent(data)
        arguments = (agent.wish.generation, self.clock.boottime(), fraction, self.limits)
        self.note(agent, supervision.hindered(agent.history, *arguments, "There is no program x."))
        self.rest(agent, self.limits.restart_pause_s_min)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), for_s=st.none() | st.floats(0, PAUSE_S_MAX))
    def be_paused(self, data: st.DataObject, for_s: float | None) -> None:
        agent, now = self.draw_agent(data), self.clock.boottime()
        until = None if for_s is None else now + for_s
        self.note(agent, supervision.paused(agent.history, agent.wish.generation, now, until, "not now"))
        self.rest(agent, for_s)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def be_superseded(self, data: st.DataObject) -> None:
        agent, now = self.draw_agent(data), self.clock.boottime()
        self.note(agent, supervision.yielded(agent.history, agent.wish.generation, now, self.limits))
        self.rest(agent, self.limits.daemon_heartbeat_interval_s)

    @precondition(lambda self: any(agent.is_asked_to_stop for agent in self.alive.values()))
    @rule()
    def stop_as_asked(self) -> None:
        for agent in [agent for agent in self.alive.values() if agent.is_asked_to_stop]:
            self.get_up(agent)

    # What must be so.

    @invariant()
    def a_wait_has_an_end_or_is_for_a_person_and_says_so(self) -> None:
        now = self.clock.boottime()
        for role, wish in (self.heard or {}).items():
            if wish.desired != "running" or role in self.alive:
                continue
            account = self.budget.of(role, wish.generation)
            history = self.histories.of(ROOM, role)
            step = supervision.decide(True, wish.generation, None, history, now)
            assert step.action == supervision.WAIT, "nobody sits there, and nothing is waited for"
            assert account.needs_person == (step.until is None) == ("until a user" in step.reason), step
            longest_s = max(PAUSE_S_MAX, self.limits.park_pause_s, self.limits.restart_pause_s_max)
            assert step.until is None or now < step.until <= now + longest_s + EPSILON_S, step

    @invariant()
    def what_the_supervisor_believes_to_run_is_what_runs(self) -> None:
        assert self.supervisor.seats() == list(self.alive.values())

    @rule()
    def all_come_to_rest(self) -> None:
        """Left alone, everything comes to where it should be, and the daemon is not busy with it."""
        self.hear()
        ends_at = self.passed_s + max(PAUSE_S_MAX, self.limits.park_pause_s, self.limits.restart_pause_s_max) + 1.0
        for _ in range(LOOKS_MAX):
            self.stop_as_asked()
            wait_s = self.look()
            if self.passed_s >= ends_at:
                break
            assert wait_s > 0, "the daemon looks again and again, and nothing changes"
            self.let_pass(wait_s)
        assert self.passed_s >= ends_at
        for role, wish in self.wishes.items():
            should_run = wish.desired == "running" and not self.budget.of(role, wish.generation).needs_person
            runs = [self.alive[role].wish.generation] if role in self.alive else []
            assert runs == ([wish.generation] if should_run else []), f"{role}: {self.histories.of(ROOM, role)}"

    # How it is done.

    def write_wish(self, role: str, desired: str) -> None:
        before = self.wishes.get(role)
        self.wishes[role] = Wish(
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
        """What an earlier one left running is made seats before anything is wished."""
        boot = f"boot {self.boots}"
        self.histories = Histories(Path(self.folder.name) / "histories.json", boot, self.clock, self.limits)
        self.supervisor: Supervisor[Agent] = Supervisor(self.make_agent, self.histories, self.clock, lambda: None)
        self.heard = None
        for role, agent in self.alive.items():
            history = supervision.under(self.histories.of(ROOM, role), agent.wish.generation)
            self.alive[role] = Agent(agent.wish, history, partial(self.supervisor.take_end, ROOM, role))
            self.supervisor.adopt(self.alive[role])
        self.look()

    def make_agent(self, wish: Wish, history: History, on_end: Callable[[], None]) -> Agent:
        assert self.heard is not None, "started before anything was wished"
        assert self.heard[wish.role] == wish, "a wish of yesterday was carried out"
        assert wish.desired == "running", "started although it is wished stopped"
        assert wish.role not in self.alive, "two sit in one role"
        self.budget.began(wish.role, wish.generation, history.is_parked, self.passed_s)
        agent = self.alive[wish.role] = Agent(wish, history, on_end)
        return agent

    def let_pass(self, span_s: float, is_asleep: bool = False) -> None:
        (self.clock.sleep if is_asleep else self.clock.move)(span_s + LATE_S)
        self.passed_s += span_s + LATE_S

    def look(self) -> float:
        return self.supervisor.step()

    def draw_agent(self, data: st.DataObject) -> Agent:
        return self.alive[data.draw(st.sampled_from(sorted(self.alive)))]

    def note(self, agent: Agent, history: History) -> None:
        agent.history = history
        self.histories.note(ROOM, agent.wish.role, history)

    def note_death(self, agent: Agent, fraction: float) -> None:
        arguments = (agent.wish.generation, self.clock.boottime(), fraction, self.limits)
        self.note(agent, supervision.ended(agent.history, *arguments, "exit code 3"))
        self.budget.died(agent.wish.role, agent.wish.generation, self.passed_s)
        self.check(agent)

    def check(self, agent: Agent) -> None:
        """Hold what was noted of an agent against its account."""
        history, account = agent.history, self.budget.of(agent.wish.role, agent.wish.generation)
        assert history.is_parked == account.is_parked, f"{history} but {account}"
        assert history.needs_person == account.needs_person, f"{history} but {account}"
        if history.rest == supervision.BACKING_OFF:
            assert history.rests_until is not None
            pause_s = history.rests_until - self.clock.boottime()
            assert self.limits.restart_pause_s_min - EPSILON_S <= pause_s, "restarted too soon"
            assert pause_s <= self.limits.restart_pause_s_max + EPSILON_S, "restarted too late"

    def rest(self, agent: Agent, for_s: float | None) -> None:
        until = None if for_s is None else self.passed_s + for_s
        self.budget.waits(agent.wish.role, agent.wish.generation, until)
        self.check(agent)
        self.get_up(agent)

    def get_up(self, agent: Agent) -> None:
        del self.alive[agent.wish.role]
        agent.on_end()
        self.look()


TestRestartsKeepBudget = RestartsKeepBudget.TestCase
TestRestartsKeepBudget.settings = settings(max_examples=100, stateful_step_count=40)
