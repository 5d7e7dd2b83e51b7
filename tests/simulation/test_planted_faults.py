"""Each of these planted faults must be found by its state machine.

Each fault is one that a comparable system has had: see docs/design.md.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from sqlalchemy import bindparam, update

from greenroom.domain import sitting, sweep, task
from greenroom.domain.sitting import OK, PRESENT, SIT_AGAIN
from greenroom.domain.task import HELD_STATES, PENDING, can_resume, is_held_by
from greenroom.service import (
    access,
    connecting,
    facts,
    guarding,
    notes,
    opening,
    presence,
    resting,
    results,
    seating,
    tasks,
    working,
)
from greenroom.service.guards import Guards
from greenroom.service.leases import LeaseTable
from greenroom.store import machines, sittings
from greenroom.store import tasks as stored
from greenroom.store.statement import Statement
from greenroom.wire.replies import LeaveReply
from tests.simulation.test_machines_heal import MachinesHeal
from tests.simulation.test_machines_move import MachinesMove
from tests.simulation.test_self_healing import SelfHealing
from tests.simulation.test_work_is_kept import WorkIsKept

Patch = pytest.MonkeyPatch
Faults = dict[Callable[[Patch], None], int]
"""Each with a seed by which it is found within a few examples. Other seeds find it too, after more examples."""

TASK = [stored.tasks.c[name] for name in stored.FIELDS]
"""The columns that a claim returns."""

QUICK = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


def beat_that_revives(patch: Patch) -> None:
    def beat(self: LeaseTable, key: str, connection: str, now: float) -> str:
        if key not in self.seats:
            self.grant(key, connection, 90.0, None, now)
        return original(self, key, connection, now)

    original = LeaseTable.beat
    patch.setattr(LeaseTable, "beat", beat)


def beat_that_says_ok_for_nothing(patch: Patch) -> None:
    def beat(self: LeaseTable, key: str, connection: str, now: float) -> str:
        original(self, key, connection, now)
        return OK

    original = LeaseTable.beat
    patch.setattr(LeaseTable, "beat", beat)


def rejoin_of_an_older_sitting(patch: Patch) -> None:
    def decide_join(known: Any, newest_epoch: int) -> str:
        return SIT_AGAIN if known is not None and known.status != PRESENT else original(known, newest_epoch)

    original = sitting.decide_join
    patch.setattr(presence, "decide_join", decide_join)


def leave_without_a_fence(patch: Patch) -> None:
    def leave(world: Any, tx: Any, caller: Any, room: str, role: str, request: Any) -> Any:
        present = [each for each in sittings.present_in(tx, world.directory.find(room).id) if each.role == role]
        for each in present:
            seating.end(world, tx, each, request.cause, "left", release_as=request.cause)
        return LeaveReply(OK)

    patch.setattr(presence, "leave", leave)


def claim_without_the_seat(patch: Patch) -> None:
    by_id_only = update(stored.tasks).where(stored.tasks.c.id == bindparam("id"), stored.tasks.c.status == PENDING)
    values = {"status": "acknowledged", "attempt": stored.tasks.c.attempt + 1, "acknowledged_at": bindparam("at")}
    holder: dict[str, Any] = {"claimed_by": bindparam("connection_id"), "last_holder": bindparam("connection_id")}
    patch.setattr(stored, "CLAIM", Statement(by_id_only.values(values | holder).returning(*TASK)))
    patch.setattr(tasks, "judge", lambda known, epoch: OK if known is not None else "rejoin_required")


def completion_by_id_only(patch: Patch) -> None:
    patch.setattr(access, "has", lambda reader, task, role, connection_id, attempt: True)


def resume_although_somebody_newer_came(patch: Patch) -> None:
    def has(reader: Any, task: Any, role: Any, connection_id: str, attempt: int) -> bool:
        known = sittings.get(reader, task.room, role.name, connection_id)
        holder = (task, connection_id, attempt)
        return known is not None and (is_held_by(*holder) or can_resume(*holder))

    patch.setattr(access, "has", has)
    patch.setattr(seating, "end", without_release(seating.end))


def without_release(end: Callable[..., Any]) -> Callable[..., Any]:
    def keep(*arguments: Any, **options: Any) -> Any:
        release, working.release = working.release, lambda world, tx, task, *rest, **more: task
        try:
            return end(*arguments, **options)
        finally:
            working.release = release

    return keep


def cleanup_after_our_own_absence(patch: Patch) -> None:
    patch.setattr(sweep, "must_extend", lambda planned_at, now, limits: False)


def restart_that_forgets_the_timers(patch: Patch) -> None:
    original = opening.fill

    def fill(world: Any, reader: Any) -> None:
        original(world, reader)
        world.leases.timers.clear()

    patch.setattr(opening, "fill", fill)


def lapse_without_a_timer(patch: Patch) -> None:
    patch.setattr(seating, "start_timer", lambda world, task: None)


def cleanup_that_comes_early(patch: Patch) -> None:
    original = LeaseTable.mark_seat
    patch.setattr(LeaseTable, "due_seats", lambda self, now: list(self.seats))
    patch.setattr(LeaseTable, "mark_seat", lambda self, key, now: original(self, key, now + 30.0))


def cleanup_that_never_comes(patch: Patch) -> None:
    patch.setattr(LeaseTable, "due_seats", lambda self, now: [])


def completion_that_promotes_nobody(patch: Patch) -> None:
    patch.setattr(working, "promote", lambda world, tx, room, cause: [])


def attempt_that_does_not_rise(patch: Patch) -> None:
    same = update(stored.tasks).where(stored.tasks.c.id == bindparam("id"), stored.tasks.c.status == PENDING)
    values = {"status": "acknowledged", "attempt": 1, "claimed_by": bindparam("connection_id")}
    more: dict[str, Any] = {
        "last_holder": bindparam("connection_id"),
        "acknowledged_at": bindparam("at"),
        "released_cause": None,
    }
    patch.setattr(stored, "CLAIM", Statement(same.values(values | more).returning(*TASK)))


def takeover_without_a_guard(patch: Patch) -> None:
    patch.setattr(Guards, "holds_back", lambda self, task: False)


def guard_that_is_never_lifted(patch: Patch) -> None:
    patch.setattr(Guards, "lift_due", lambda self, now: [])


def restart_that_forgets_the_guards(patch: Patch) -> None:
    patch.setattr(guarding, "hold_back_again", lambda world, reader: None)


def retry_into_a_full_room(patch: Patch) -> None:
    patch.setattr(working, "place_for", lambda tx, room: PENDING)


def late_result_of_a_stranger(patch: Patch) -> None:
    patch.setattr(results, "had", lambda reader, task, connection, attempt: attempt <= task.attempt)


def late_result_that_is_not_kept(patch: Patch) -> None:
    patch.setattr(results, "keep_late", lambda tx, task, attempt, connection, to, text: results.KEPT)


def send_back_that_forgets_the_result(patch: Patch) -> None:
    emptied = {"accepted_attempt": None, "result": None, "handed_to": None}
    patch.setattr(results, "set_aside", lambda tx, task: msgspec.structs.replace(task, **emptied))


def acceptance_that_leaves_the_holder_at_work(patch: Patch) -> None:
    patch.setattr(results, "free_holder", lambda world, tx, held: None)


def note_that_waits_for_the_next_claim(patch: Patch) -> None:
    patch.setattr(notes, "is_under_way", lambda task: False)


def quarantine_that_calls_nobody(patch: Patch) -> None:
    patch.setattr(working, "call_people", lambda tx, before, after: None)


def move_that_is_not_in_the_table(patch: Patch) -> None:
    original = task.move

    def move(current: str, trigger: str, to: str | None = None) -> str:
        return PENDING if trigger == "start" else original(current, trigger, to)

    patch.setattr(working, "move", move)


def result_of_a_role_that_was_wished_away_is_refused(patch: Patch) -> None:
    patch.setattr(access, "sits_itself", lambda reader, caller, role, connection_id: False)


def fact_of_the_past_that_counts(patch: Patch) -> None:
    patch.setattr(facts, "counts", lambda role, machine, known, fact: True)


def fact_that_is_taken_twice(patch: Patch) -> None:
    original = machines.take_fact

    def take_fact(tx: Any, machine: str, fact: str) -> bool:
        original(tx, machine, fact)
        return True

    patch.setattr(machines, "take_fact", take_fact)


def death_on_trial_that_nobody_knows_as_one(patch: Patch) -> None:
    patch.setattr(
        facts, "completed", lambda role, known, fact: msgspec.structs.replace(fact, intended=bool(fact.intended))
    )


def exit_of_a_former_sitting_that_ends_the_present_one(patch: Patch) -> None:
    def end_sitting(world: Any, tx: Any, role: Any, known: Any, how: str, fact: Any) -> None:
        present = sittings.present(tx, role.room, role.name)
        original(world, tx, role, present, how, fact)

    original = facts.end_sitting
    patch.setattr(facts, "end_sitting", end_sitting)


def exit_that_releases_whatever_its_role_has(patch: Patch) -> None:
    patch.setattr(facts, "is_held_by", lambda task, connection, attempt: task.status in HELD_STATES)


def stopped_agent_that_keeps_its_seat(patch: Patch) -> None:
    patch.setattr(facts, "is_wished_here", lambda room, role, machine: True)


def clone_that_takes_the_machine_back(patch: Patch) -> None:
    patch.setattr(connecting, "judge_incarnation", lambda known, newest: "new" if known is None else OK)


def moved_role_that_waits_for_its_former_machine(patch: Patch) -> None:
    original = presence.refuse_if_taken
    patch.setattr(presence, "refuse_if_taken", lambda tx, role, machine: original(tx, role, None))


def parked_role_that_nobody_is_told_of(patch: Patch) -> None:
    patch.setattr(resting, "tell", lambda tx, room, role, cause: None)


def disconnection_that_leaves_the_agents(patch: Patch) -> None:
    patch.setattr(sittings, "present_on", lambda reader, machine: [])


FAULTS: Faults = {
    beat_that_revives: 2,
    beat_that_says_ok_for_nothing: 2,
    rejoin_of_an_older_sitting: 0,
    leave_without_a_fence: 1,
    claim_without_the_seat: 0,
    completion_by_id_only: 1,
    resume_although_somebody_newer_came: 1,
    cleanup_after_our_own_absence: 0,
    restart_that_forgets_the_timers: 9,
    lapse_without_a_timer: 0,
    cleanup_that_comes_early: 1,
    cleanup_that_never_comes: 0,
    completion_that_promotes_nobody: 2,
    attempt_that_does_not_rise: 0,
    takeover_without_a_guard: 1,
    guard_that_is_never_lifted: 3,
    restart_that_forgets_the_guards: 5,
}
FAULTS_OF_WORK: Faults = {
    retry_into_a_full_room: 0,
    late_result_of_a_stranger: 3,
    late_result_that_is_not_kept: 0,
    send_back_that_forgets_the_result: 4,
    acceptance_that_leaves_the_holder_at_work: 0,
    note_that_waits_for_the_next_claim: 6,
    quarantine_that_calls_nobody: 0,
    move_that_is_not_in_the_table: 8,
}
FAULTS_OF_MACHINES: Faults = {result_of_a_role_that_was_wished_away_is_refused: 3}
FAULTS_OF_MOVES: Faults = {
    fact_of_the_past_that_counts: 0,
    fact_that_is_taken_twice: 0,
    death_on_trial_that_nobody_knows_as_one: 4,
    exit_of_a_former_sitting_that_ends_the_present_one: 0,
    exit_that_releases_whatever_its_role_has: 5,
    stopped_agent_that_keeps_its_seat: 0,
    clone_that_takes_the_machine_back: 0,
    moved_role_that_waits_for_its_former_machine: 1,
    parked_role_that_nobody_is_told_of: 1,
    disconnection_that_leaves_the_agents: 1,
}
MODELS = (
    (SelfHealing, FAULTS),
    (WorkIsKept, FAULTS_OF_WORK),
    (MachinesHeal, FAULTS_OF_MACHINES),
    (MachinesMove, FAULTS_OF_MOVES),
)

CASES = [
    pytest.param(machine, plant, number, id=plant.__name__)
    for machine, faults in MODELS
    for plant, number in faults.items()
]


@pytest.mark.parametrize(("machine", "plant", "number"), CASES)
def test_the_fault_is_found(
    machine: type[RuleBasedStateMachine], plant: Callable[[Patch], None], number: int, monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    begun = seed(number)(type(machine.__name__, (machine,), {}))
    with pytest.raises(Exception):  # noqa: B017, PT011 - an assertion of the state machine, or a store constraint
        run_state_machine_as_test(begun, settings=QUICK)
