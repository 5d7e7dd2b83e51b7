"""Reconciles this machine's role runners with its assignments: starts and stops them.

Only the supervisor starts or stops an agent on this machine, and it does neither before it has the first assignments.
The decisions are those of `domain.restart_policy`.
Options: the restart settings (`restart_backoff_s_min`, `restart_backoff_s_max`, `restart_reset_s`,
`crash_loop_after_failures`, `crash_loop_window_s`, `crash_loop_probe_after_s`).
Metrics: none; each change of a role's status is logged once.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from greenroom.clock import Clock, format_instant
from greenroom.daemon.restart_state import RestartStates, RoleKey
from greenroom.domain import restart_policy
from greenroom.domain.restart_policy import RestartHistory, RestartStep
from greenroom.domain.role import RUNNING
from greenroom.loop import Loop
from greenroom.wire.replies import Assignment, Assignments

log = logging.getLogger("greenroom.daemon.supervisor")

STEP_EVERY_S_MAX = 60.0


class SupervisedRole(Protocol):
    """A role runner, as the supervisor needs it. It records what happens to its agent in the restart state."""

    spec: Assignment

    def start(self) -> None: ...
    def stop(self, reason: str) -> None: ...
    def finish(self, reason: str) -> None: ...


RunnerT = TypeVar("RunnerT", bound=SupervisedRole)


class Supervisor(Generic[RunnerT]):
    """Compares assignments with role runners and acts on the difference.

    `make_runner` gets, as its last argument, what the role runner has to call when it has ended. `on_failure` is called
    when the supervisor's loop fails.
    """

    def __init__(
        self,
        make_runner: Callable[[Assignment, RestartHistory, Callable[[], None]], RunnerT],
        restart_states: RestartStates,
        clock: Clock,
        on_failure: Callable[[], None],
    ) -> None:
        self._make_runner = make_runner
        self._restart_states = restart_states
        self._clock = clock
        self._assignments: dict[RoleKey, Assignment] | None = None
        self._runners: dict[RoleKey, RunnerT] = {}
        self._asked_to_stop: set[RoleKey] = set()
        self._logged_steps: dict[RoleKey, RestartStep] = {}
        self._changed = threading.Condition()
        self._loop = Loop("supervisor", lambda: self.step(), STEP_EVERY_S_MAX, clock, log, on_failure=on_failure)

    def start(self) -> None:
        self._loop.start()

    def adopt(self, runner: RunnerT) -> None:
        """Add a role runner of an adopted run, before the first assignments come.

        The caller starts it, and has it call `remove_ended` when it has ended.
        """
        with self._changed:
            self._runners[runner.spec.room, runner.spec.role] = runner

    def replace_assignments(self, assignments: Assignments) -> None:
        """Replace all assignments, from any thread."""
        with self._changed:
            self._assignments = {(spec.room, spec.role): spec for spec in assignments.assignments}
            self._restart_states.retain(self._assignments.keys() | self._runners.keys())
            self._logged_steps = {key: step for key, step in self._logged_steps.items() if key in self._assignments}
        self._loop.wake()

    def remove_ended(self, room: str, role: str) -> None:
        """Remove the role runner, which has ended, from any thread."""
        with self._changed:
            del self._runners[room, role]
            self._asked_to_stop.discard((room, role))
            if self._assignments is not None:
                self._restart_states.retain(self._assignments.keys() | self._runners.keys())
            self._changed.notify_all()
        self._loop.wake()

    def runners(self) -> list[RunnerT]:
        """The role runners that have not ended."""
        with self._changed:
            return list(self._runners.values())

    def stop(self, reason: str, timeout_s: float) -> bool:
        """Stop every agent and start no more; True when all role runners ended within `timeout_s`."""
        with self._changed:
            self._loop.stop()  # under the lock: a step that waits for it starts no agent any more
            runners_to_stop = list(self._runners.values())
        for runner in runners_to_stop:
            runner.stop(reason)
        with self._changed:
            return self._changed.wait_for(lambda: not self._runners, timeout_s)

    def step(self) -> float:
        """Reconcile every role; the seconds until the next step, unless something changes before."""
        self._restart_states.write_if_stale()
        with self._changed:
            if self._loop.is_stopping or self._assignments is None:
                return STEP_EVERY_S_MAX
            now = self._clock.boottime()
            keys = list({**self._assignments, **self._runners})
            return min([STEP_EVERY_S_MAX, *(self._reconcile(key, self._assignments.get(key), now) for key in keys)])

    def _reconcile(self, key: RoleKey, spec: Assignment | None, now: float) -> float:
        """Reconcile one role; the seconds until it has to be looked at again."""
        runner = self._runners.get(key)
        desired = spec is not None and spec.desired == RUNNING
        generation = spec.generation if spec is not None else 0
        history = self._restart_states.get(*key)
        held_generation = runner.spec.generation if runner is not None else None
        run_generation = spec.run_generation if spec is not None else None
        step = restart_policy.decide_step(desired, generation, held_generation, history, now, run_generation)
        if runner is None or step.action in (restart_policy.STOP, restart_policy.FINISH):
            spec = spec or (runner.spec if runner is not None else None)
            self._log_step(key, spec.room_name if spec is not None else key[0], step, now)
        if step.action == restart_policy.JOIN:
            assert spec is not None
            self._start_runner(key, spec, restart_policy.history_of_generation(history, generation))
        elif step.action == restart_policy.STOP and key not in self._asked_to_stop:
            assert runner is not None
            self._asked_to_stop.add(key)
            runner.stop(step.reason)
        elif step.action == restart_policy.FINISH:
            assert runner is not None
            runner.finish(step.reason)
        return STEP_EVERY_S_MAX if step.until is None else max(0.0, step.until - now)

    def _start_runner(self, key: RoleKey, spec: Assignment, history: RestartHistory) -> None:
        runner = self._runners[key] = self._make_runner(spec, history, partial(self.remove_ended, *key))
        runner.start()

    def _log_step(self, key: RoleKey, room_name: str, step: RestartStep, now: float) -> None:
        """Log why a role is started, stopped or waits, once for each reason."""
        if self._logged_steps.get(key) != step:
            self._logged_steps[key] = step
            until = "" if step.until is None else f" (until {format_instant(self._clock.wall() + step.until - now)})"
            log.info("agent status: %s/%s: %s%s", room_name, key[1], step.reason, until)
