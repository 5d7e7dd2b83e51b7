"""Each of these planted faults in the restart policy must be found by the state machine RestartsKeepBudget."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.supervisor import Supervisor
from greenroom.domain import restart_policy
from greenroom.domain.restart_policy import BACKING_OFF, CRASH_LOOPING, JOIN, KEEP, RestartHistory, RestartStep
from tests.simulation.test_planted_faults import QUICK
from tests.simulation.test_restarts_keep_budget import RestartsKeepBudget

Patch = pytest.MonkeyPatch
LONG_SEARCH = settings(QUICK, max_examples=2000)


def success_clears_failure_window(patch: Patch) -> None:
    patch.setattr(restart_policy, "record_success", lambda history, generation: RestartHistory(generation=generation))


def success_without_recovery(patch: Patch) -> None:
    patch.setattr(restart_policy, "record_success", lambda history, generation: history)


def failures_never_crash_loop(patch: Patch) -> None:
    original = restart_policy.record_failure

    def ended(*arguments: Any) -> RestartHistory:
        history = original(*arguments)
        return msgspec.structs.replace(history, hold=BACKING_OFF, hold_until=arguments[2] + 1.0)

    patch.setattr(restart_policy, "record_failure", ended)


def repeated_probe_runs(patch: Patch) -> None:
    original = restart_policy.record_failure

    def ended(history: RestartHistory, *hold: Any) -> RestartHistory:
        return original(msgspec.structs.replace(history, hold=None, owes_probe_run=False), *hold)

    patch.setattr(restart_policy, "record_failure", ended)


def no_probe_run(patch: Patch) -> None:
    original = restart_policy.record_failure

    def ended(*arguments: Any) -> RestartHistory:
        history = original(*arguments)
        return msgspec.structs.replace(history, hold_until=None) if history.hold == CRASH_LOOPING else history

    patch.setattr(restart_policy, "record_failure", ended)


def old_failure_counts(patch: Patch) -> None:
    original = restart_policy.record_failure

    def ended(history: RestartHistory, generation: int, now: float, *hold: Any) -> RestartHistory:
        younger = tuple(now for at in history.failures)
        return original(msgspec.structs.replace(history, failures=younger), generation, now, *hold)

    patch.setattr(restart_policy, "record_failure", ended)


def no_backoff(patch: Patch) -> None:
    patch.setattr(restart_policy, "backoff_s", lambda consecutive, fraction, limits: 0.0)


def unlimited_backoff(patch: Patch) -> None:
    patch.setattr(restart_policy, "backoff_s", lambda consecutive, fraction, limits: 2.0 ** (consecutive + 4))


def missing_program_counts_as_failure(patch: Patch) -> None:
    patch.setattr(restart_policy, "record_failed_start", restart_policy.record_failure)


def hindrance_cancels_probe_run(patch: Patch) -> None:
    cancel_probe_run(patch, "record_failed_start")


def pause_cancels_probe_run(patch: Patch) -> None:
    cancel_probe_run(patch, "record_pause")


def takeover_cancels_probe_run(patch: Patch) -> None:
    cancel_probe_run(patch, "record_yield")


def cancel_probe_run(patch: Patch, name: str) -> None:
    original = getattr(restart_policy, name)
    patch.setattr(restart_policy, name, lambda *hold: msgspec.structs.replace(original(*hold), owes_probe_run=False))


def takeover_clears_failures(patch: Patch) -> None:
    original = restart_policy.record_yield
    patch.setattr(
        restart_policy,
        "record_yield",
        lambda history, generation, *hold: original(RestartHistory(generation=generation), generation, *hold),
    )


def login_pause_ends_by_itself(patch: Patch) -> None:
    original = restart_policy.record_pause

    def paused(
        history: RestartHistory, generation: int, now: float, until: float | None, reason: str
    ) -> RestartHistory:
        return original(history, generation, now, now + 60.0 if until is None else until, reason)

    patch.setattr(restart_policy, "record_pause", paused)


def new_generation_keeps_history(patch: Patch) -> None:
    patch.setattr(
        restart_policy,
        "history_of_generation",
        lambda history, generation: msgspec.structs.replace(history, generation=generation),
    )


def desired_stop_ignored(patch: Patch) -> None:
    original = restart_policy.decide_step
    patch.setattr(restart_policy, "decide_step", lambda desired, *hold: original(True, *hold))


def hold_ignored(patch: Patch) -> None:
    replace_wait(patch, JOIN)


def hold_never_ends(patch: Patch) -> None:
    replace_wait(patch, KEEP)


def replace_wait(patch: Patch, action: str) -> None:
    original = restart_policy.decide_step

    def decide(*arguments: Any) -> RestartStep:
        step = original(*arguments)
        return RestartStep(action, step.reason) if step.action == restart_policy.WAIT else step

    patch.setattr(restart_policy, "decide_step", decide)


def wait_for_user_not_stated(patch: Patch) -> None:
    original = restart_policy.decide_step

    def decide(*arguments: Any) -> RestartStep:
        step = original(*arguments)
        return msgspec.structs.replace(step, reason=step.reason.replace("until a user starts it again", "for now"))

    patch.setattr(restart_policy, "decide_step", decide)


def restart_state_not_saved(patch: Patch) -> None:
    patch.setattr(RestartStates, "_write", lambda self: None)


def restart_state_uses_wall_clock(patch: Patch) -> None:
    original = RestartStates._restore_history
    patch.setattr(
        RestartStates,
        "_restore_history",
        lambda self, page, written: original(self, msgspec.structs.replace(page, boot="another"), written),
    )


def restart_state_trusts_clock_set_back(patch: Patch) -> None:
    original = RestartStates._restore_history

    def take_back(self: RestartStates, page: Any, written: RestartHistory) -> RestartHistory:
        history = original(self, page, written)
        if history.hold_until is None or written.hold_until is None:
            return history
        by_wall = written.hold_until - self._current_booted_at()
        return msgspec.structs.replace(history, hold_until=max(history.hold_until, by_wall))

    patch.setattr(RestartStates, "_restore_history", take_back)


def restart_state_keeps_old_boot_clock(patch: Patch) -> None:
    patch.setattr(RestartStates, "write_if_stale", lambda self: None)


def first_assignments_not_awaited(patch: Patch) -> None:
    original = Supervisor.step

    def step(self: Supervisor[Any]) -> float:
        self._assignments = self._assignments or {}
        return original(self)

    patch.setattr(Supervisor, "step", step)


def adoption_ignored(patch: Patch) -> None:
    patch.setattr(Supervisor, "adopt", lambda self, runner: None)


def stop_requested_only_once(patch: Patch) -> None:
    class NonDiscardingSet(set[Any]):
        def discard(self, key: Any) -> None:
            pass

    original = Supervisor.__init__

    def init(self: Supervisor[Any], *arguments: Any) -> None:
        original(self, *arguments)
        self._asked_to_stop = NonDiscardingSet()

    patch.setattr(Supervisor, "__init__", init)


FAULTS: tuple[Callable[[Patch], None], ...] = (
    success_clears_failure_window,
    success_without_recovery,
    failures_never_crash_loop,
    repeated_probe_runs,
    no_probe_run,
    old_failure_counts,
    no_backoff,
    unlimited_backoff,
    missing_program_counts_as_failure,
    hindrance_cancels_probe_run,
    pause_cancels_probe_run,
    takeover_cancels_probe_run,
    takeover_clears_failures,
    login_pause_ends_by_itself,
    new_generation_keeps_history,
    desired_stop_ignored,
    hold_ignored,
    hold_never_ends,
    wait_for_user_not_stated,
    restart_state_not_saved,
    restart_state_uses_wall_clock,
    restart_state_trusts_clock_set_back,
    restart_state_keeps_old_boot_clock,
    first_assignments_not_awaited,
    adoption_ignored,
    stop_requested_only_once,
)


@pytest.mark.parametrize("plant_fault", FAULTS)
def test_fault_is_found(plant_fault: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant_fault(monkeypatch)
    seeded_machine = seed(0)(type("RestartsKeepBudget", (RestartsKeepBudget,), {}))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(seeded_machine, settings=LONG_SEARCH)
