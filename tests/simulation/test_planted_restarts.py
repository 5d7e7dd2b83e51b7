"""The proof that the proof of restarts bites: with each of these faults planted, the state machine must find it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from greenroom.daemon.histories import Histories
from greenroom.daemon.supervisor import Supervisor
from greenroom.domain import supervision
from greenroom.domain.supervision import BACKING_OFF, KEEP, PARKED, SIT, History, Step
from tests.simulation.test_planted_faults import QUICK
from tests.simulation.test_restarts_keep_budget import RestartsKeepBudget

Patch = pytest.MonkeyPatch
PATIENT = settings(QUICK, max_examples=2000)


def success_that_clears_the_window(patch: Patch) -> None:
    patch.setattr(supervision, "succeeded", lambda history, generation: History(generation=generation))


def success_that_does_not_unpark(patch: Patch) -> None:
    patch.setattr(supervision, "succeeded", lambda history, generation: history)


def ends_that_never_park(patch: Patch) -> None:
    original = supervision.ended

    def ended(*arguments: Any) -> History:
        history = original(*arguments)
        return msgspec.structs.replace(history, rest=BACKING_OFF, rests_until=arguments[2] + 1.0)

    patch.setattr(supervision, "ended", ended)


def trial_after_trial(patch: Patch) -> None:
    original = supervision.ended

    def ended(history: History, *rest: Any) -> History:
        return original(msgspec.structs.replace(history, rest=None, owes_trial=False), *rest)

    patch.setattr(supervision, "ended", ended)


def trial_that_waits_for_a_person_at_once(patch: Patch) -> None:
    original = supervision.ended

    def ended(*arguments: Any) -> History:
        history = original(*arguments)
        return msgspec.structs.replace(history, rests_until=None) if history.rest == PARKED else history

    patch.setattr(supervision, "ended", ended)


def end_long_ago_that_still_counts(patch: Patch) -> None:
    original = supervision.ended

    def ended(history: History, generation: int, now: float, *rest: Any) -> History:
        younger = tuple(now for at in history.ends)
        return original(msgspec.structs.replace(history, ends=younger), generation, now, *rest)

    patch.setattr(supervision, "ended", ended)


def no_pause_at_all(patch: Patch) -> None:
    patch.setattr(supervision, "pause_after", lambda in_a_row, fraction, limits: 0.0)


def pause_that_doubles_for_ever(patch: Patch) -> None:
    patch.setattr(supervision, "pause_after", lambda in_a_row, fraction, limits: 2.0 ** (in_a_row + 4))


def missing_program_that_counts_as_a_death(patch: Patch) -> None:
    patch.setattr(supervision, "hindered", supervision.ended)


def hindrance_that_forgets_the_trial(patch: Patch) -> None:
    forget_the_trial(patch, "hindered")


def pause_that_forgets_the_trial(patch: Patch) -> None:
    forget_the_trial(patch, "paused")


def takeover_that_forgets_the_trial(patch: Patch) -> None:
    forget_the_trial(patch, "yielded")


def forget_the_trial(patch: Patch, name: str) -> None:
    original = getattr(supervision, name)
    patch.setattr(supervision, name, lambda *rest: msgspec.structs.replace(original(*rest), owes_trial=False))


def takeover_that_forgets_the_ends(patch: Patch) -> None:
    original = supervision.yielded
    patch.setattr(
        supervision,
        "yielded",
        lambda history, generation, *rest: original(History(generation=generation), generation, *rest),
    )


def login_that_is_tried_again_by_itself(patch: Patch) -> None:
    original = supervision.paused

    def paused(history: History, generation: int, now: float, until: float | None, reason: str) -> History:
        return original(history, generation, now, now + 60.0 if until is None else until, reason)

    patch.setattr(supervision, "paused", paused)


def new_wish_that_is_no_new_beginning(patch: Patch) -> None:
    patch.setattr(
        supervision, "under", lambda history, generation: msgspec.structs.replace(history, generation=generation)
    )


def wish_to_stop_that_is_not_heeded(patch: Patch) -> None:
    original = supervision.decide
    patch.setattr(supervision, "decide", lambda desired, *rest: original(True, *rest))


def rest_that_is_not_waited_for(patch: Patch) -> None:
    instead_of_a_wait(patch, SIT)


def rest_that_has_no_end(patch: Patch) -> None:
    instead_of_a_wait(patch, KEEP)


def instead_of_a_wait(patch: Patch, action: str) -> None:
    original = supervision.decide

    def decide(*arguments: Any) -> Step:
        step = original(*arguments)
        return Step(action, step.reason) if step.action == supervision.WAIT else step

    patch.setattr(supervision, "decide", decide)


def wait_for_a_person_that_nobody_is_told_of(patch: Patch) -> None:
    original = supervision.decide

    def decide(*arguments: Any) -> Step:
        step = original(*arguments)
        return msgspec.structs.replace(step, reason=step.reason.replace("until a user starts it again", "for now"))

    patch.setattr(supervision, "decide", decide)


def histories_in_memory_only(patch: Patch) -> None:
    patch.setattr(Histories, "_write", lambda self: None)


def histories_by_the_wall_clock(patch: Patch) -> None:
    original = Histories._take_back
    patch.setattr(
        Histories,
        "_take_back",
        lambda self, page, written: original(self, msgspec.structs.replace(page, boot="another"), written),
    )


def histories_that_believe_a_clock_set_back(patch: Patch) -> None:
    original = Histories._take_back

    def take_back(self: Histories, page: Any, written: History) -> History:
        history = original(self, page, written)
        if history.rests_until is None or written.rests_until is None:
            return history
        by_wall = written.rests_until - self._when_booted()
        return msgspec.structs.replace(history, rests_until=max(history.rests_until, by_wall))

    patch.setattr(Histories, "_take_back", take_back)


def histories_that_keep_the_clock_of_the_boot_before(patch: Patch) -> None:
    patch.setattr(Histories, "keep_current", lambda self: None)


def first_answer_that_is_not_waited_for(patch: Patch) -> None:
    original = Supervisor.step

    def step(self: Supervisor[Any]) -> float:
        self._wishes = self._wishes or {}
        return original(self)

    patch.setattr(Supervisor, "step", step)


def adoption_that_is_forgotten(patch: Patch) -> None:
    patch.setattr(Supervisor, "adopt", lambda self, seat: None)


def stop_that_is_asked_for_once_in_a_life(patch: Patch) -> None:
    class Never(set[Any]):
        def discard(self, key: Any) -> None:
            pass

    original = Supervisor.__init__

    def init(self: Supervisor[Any], *arguments: Any) -> None:
        original(self, *arguments)
        self._asked_to_stop = Never()

    patch.setattr(Supervisor, "__init__", init)


FAULTS: tuple[Callable[[Patch], None], ...] = (
    success_that_clears_the_window,
    success_that_does_not_unpark,
    ends_that_never_park,
    trial_after_trial,
    trial_that_waits_for_a_person_at_once,
    end_long_ago_that_still_counts,
    no_pause_at_all,
    pause_that_doubles_for_ever,
    missing_program_that_counts_as_a_death,
    hindrance_that_forgets_the_trial,
    pause_that_forgets_the_trial,
    takeover_that_forgets_the_trial,
    takeover_that_forgets_the_ends,
    login_that_is_tried_again_by_itself,
    new_wish_that_is_no_new_beginning,
    wish_to_stop_that_is_not_heeded,
    rest_that_is_not_waited_for,
    rest_that_has_no_end,
    wait_for_a_person_that_nobody_is_told_of,
    histories_in_memory_only,
    histories_by_the_wall_clock,
    histories_that_believe_a_clock_set_back,
    histories_that_keep_the_clock_of_the_boot_before,
    first_answer_that_is_not_waited_for,
    adoption_that_is_forgotten,
    stop_that_is_asked_for_once_in_a_life,
)


@pytest.mark.parametrize("plant", FAULTS)
def test_the_fault_is_found(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    begun = seed(0)(type("RestartsKeepBudget", (RestartsKeepBudget,), {}))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(begun, settings=PATIENT)
