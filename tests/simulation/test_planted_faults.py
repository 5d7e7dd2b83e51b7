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

from greenroom.domain import agent_report, participant, sweep_policy, task
from greenroom.domain.participant import OK, PRESENT, REJOIN
from greenroom.domain.task import HELD_STATES, PENDING, can_resume, is_held_by
from greenroom.service import (
    agent_reports,
    authorization,
    machine_heartbeats,
    participant_transitions,
    participants,
    restart_holds,
    startup,
    takeovers,
    task_notes,
    task_results,
    task_transitions,
    tasks,
)
from greenroom.service.state.lease_table import LeaseTable
from greenroom.service.state.takeover_holds import TakeoverHolds
from greenroom.store import machines
from greenroom.store import participants as stored_participants
from greenroom.store import tasks as stored
from greenroom.store.compiled_sql import Statement
from greenroom.wire.replies import LeaveReply
from tests.simulation.test_machines_heal import MachinesHeal
from tests.simulation.test_machines_move import MachinesMove
from tests.simulation.test_self_healing import SelfHealing
from tests.simulation.test_work_is_kept import WorkIsKept

Patch = pytest.MonkeyPatch
Faults = dict[Callable[[Patch], None], int]
"""Each with a seed by which it is found within a few examples. Other seeds find it too, after more examples.

Hypothesis sorts rules by name, so a renamed rule may need other seeds.
"""

TASK_COLUMNS = [stored.tasks.c[name] for name in stored.FIELDS]
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


def heartbeat_revives_expired_lease(patch: Patch) -> None:
    def beat(self: LeaseTable, key: str, connection: str, now: float) -> str:
        if key not in self.participants:
            self.grant(key, connection, 90.0, None, now)
        return original(self, key, connection, now)

    original = LeaseTable.renew
    patch.setattr(LeaseTable, "renew", beat)


def heartbeat_always_ok(patch: Patch) -> None:
    def beat(self: LeaseTable, key: str, connection: str, now: float) -> str:
        original(self, key, connection, now)
        return OK

    original = LeaseTable.renew
    patch.setattr(LeaseTable, "renew", beat)


def older_participant_rejoins(patch: Patch) -> None:
    def decide_join(known: Any, newest_epoch: int) -> str:
        return REJOIN if known is not None and known.status != PRESENT else original(known, newest_epoch)

    original = participant.decide_join
    patch.setattr(participants, "decide_join", decide_join)


def leave_ignores_connection(patch: Patch) -> None:
    def leave(context: Any, tx: Any, caller: Any, room: str, role: str, request: Any) -> Any:
        present = [
            each
            for each in stored_participants.list_present_in_room(tx, context.directory.find(room).id)
            if each.role == role
        ]
        for each in present:
            participant_transitions.close_participant(
                context, tx, each, request.cause, "left", release_as=request.cause
            )
        return LeaveReply(OK)

    patch.setattr(participants, "leave", leave)


def claim_without_presence(patch: Patch) -> None:
    by_id_only = update(stored.tasks).where(stored.tasks.c.id == bindparam("id"), stored.tasks.c.status == PENDING)
    values = {"status": "acknowledged", "attempt": stored.tasks.c.attempt + 1, "acknowledged_at": bindparam("at")}
    holder: dict[str, Any] = {"claimed_by": bindparam("connection_id"), "last_holder": bindparam("connection_id")}
    patch.setattr(stored, "CLAIM", Statement(by_id_only.values(values | holder).returning(*TASK_COLUMNS)))
    patch.setattr(tasks, "judge_call", lambda known, epoch: OK if known is not None else "rejoin_required")


def completion_by_task_id_only(patch: Patch) -> None:
    patch.setattr(authorization, "holds_or_may_resume", lambda reader, task, role, connection_id, attempt: True)


def resume_despite_newer_participant(patch: Patch) -> None:
    def has(reader: Any, task: Any, role: Any, connection_id: str, attempt: int) -> bool:
        known = stored_participants.get(reader, task.room, role.name, connection_id)
        holder = (task, connection_id, attempt)
        return known is not None and (is_held_by(*holder) or can_resume(*holder))

    patch.setattr(authorization, "holds_or_may_resume", has)
    patch.setattr(participant_transitions, "close_participant", skip_release(participant_transitions.close_participant))


def skip_release(end: Callable[..., Any]) -> Callable[..., Any]:
    def keep(*arguments: Any, **options: Any) -> Any:
        release, task_transitions.release = task_transitions.release, lambda context, tx, task, *rest, **more: task
        try:
            return end(*arguments, **options)
        finally:
            task_transitions.release = release

    return keep


def sweep_expires_after_stall(patch: Patch) -> None:
    patch.setattr(sweep_policy, "must_extend_leases", lambda planned_at, now, limits: False)


def restart_loses_timers(patch: Patch) -> None:
    original = startup.restore_state

    def fill(context: Any, reader: Any) -> None:
        original(context, reader)
        context.leases.timers.clear()

    patch.setattr(startup, "restore_state", fill)


def absence_without_timer(patch: Patch) -> None:
    patch.setattr(participant_transitions, "start_release_timer", lambda context, task: None)


def sweep_too_early(patch: Patch) -> None:
    original = LeaseTable.mark_participant
    patch.setattr(LeaseTable, "take_due_participants", lambda self, now: list(self.participants))
    patch.setattr(LeaseTable, "mark_participant", lambda self, key, now: original(self, key, now + 30.0))


def sweep_never_expires(patch: Patch) -> None:
    patch.setattr(LeaseTable, "take_due_participants", lambda self, now: [])


def completion_promotes_no_task(patch: Patch) -> None:
    patch.setattr(task_transitions, "promote", lambda context, tx, room, cause: [])


def attempt_not_incremented(patch: Patch) -> None:
    same = update(stored.tasks).where(stored.tasks.c.id == bindparam("id"), stored.tasks.c.status == PENDING)
    values = {"status": "acknowledged", "attempt": 1, "claimed_by": bindparam("connection_id")}
    more: dict[str, Any] = {
        "last_holder": bindparam("connection_id"),
        "acknowledged_at": bindparam("at"),
        "released_cause": None,
    }
    patch.setattr(stored, "CLAIM", Statement(same.values(values | more).returning(*TASK_COLUMNS)))


def takeover_without_hold(patch: Patch) -> None:
    patch.setattr(TakeoverHolds, "is_held", lambda self, task: False)


def takeover_hold_never_ends(patch: Patch) -> None:
    patch.setattr(TakeoverHolds, "release_due", lambda self, now: [])


def restart_loses_takeover_holds(patch: Patch) -> None:
    patch.setattr(takeovers, "restore_holds", lambda context, reader: None)


def retry_ignores_request_limit(patch: Patch) -> None:
    patch.setattr(task_transitions, "get_opening_state", lambda tx, room: PENDING)


def late_result_of_other_connection(patch: Patch) -> None:
    patch.setattr(task_results, "held_attempt", lambda reader, task, connection, attempt: attempt <= task.attempt)


def late_result_dropped(patch: Patch) -> None:
    patch.setattr(task_results, "keep_late", lambda tx, task, attempt, connection, to, text: task_results.KEPT)


def send_back_drops_result(patch: Patch) -> None:
    emptied = {"accepted_attempt": None, "result": None, "handed_to": None}
    patch.setattr(task_results, "demote_reviewed_result", lambda tx, task: msgspec.structs.replace(task, **emptied))


def acceptance_keeps_holder(patch: Patch) -> None:
    patch.setattr(task_results, "free_holder", lambda context, tx, held: None)


def note_delayed_to_next_claim(patch: Patch) -> None:
    patch.setattr(task_notes, "is_active", lambda task: False)


def quarantine_without_alert(patch: Patch) -> None:
    patch.setattr(task_transitions, "update_alert", lambda tx, before, after: None)


def transition_not_in_table(patch: Patch) -> None:
    original = task.next_state

    def move(current: str, trigger: str, to: str | None = None) -> str:
        return PENDING if trigger == "start" else original(current, trigger, to)

    patch.setattr(task_transitions, "next_state", move)


def result_rejected_after_reassignment(patch: Patch) -> None:
    patch.setattr(authorization, "owns_participant", lambda reader, caller, role, connection_id: False)


def outdated_report_counts(patch: Patch) -> None:
    patch.setattr(agent_report, "may_change_hold", lambda report, subject: True)


def report_accepted_twice(patch: Patch) -> None:
    original = machines.record_report

    def take_fact(tx: Any, machine: str, report: str) -> bool:
        original(tx, machine, report)
        return True

    patch.setattr(machines, "record_report", take_fact)


def probe_failure_counted(patch: Patch) -> None:
    patch.setattr(agent_report, "was_probe_run", lambda report, subject: bool(report.probe))


def old_exit_ends_present_participant(patch: Patch) -> None:
    def load_present(context: Any, tx: Any, report: Any, room: Any, role: Any, machine: Any, known: Any) -> Any:
        present = stored_participants.get_present(tx, role.room, role.name)
        return original(context, tx, report, room, role, machine, present)

    original = agent_reports.load_subject
    patch.setattr(agent_reports, "load_subject", load_present)


def exit_releases_any_task_of_role(patch: Patch) -> None:
    patch.setattr(agent_report, "is_held_by", lambda task, connection, attempt: task.status in HELD_STATES)


def stopped_agent_stays_present(patch: Patch) -> None:
    patch.setattr(agent_report, "should_run_on_machine", lambda subject: True)


def clone_takes_machine_back(patch: Patch) -> None:
    patch.setattr(machine_heartbeats, "judge_incarnation", lambda known, newest: "new" if known is None else OK)


def moved_role_waits_for_old_machine(patch: Patch) -> None:
    original = participants.check_vacant
    patch.setattr(participants, "check_vacant", lambda tx, role, machine: original(tx, role, None))


def crash_loop_without_alert(patch: Patch) -> None:
    patch.setattr(restart_holds, "update_hold_alert", lambda tx, room, role, cause: None)


def disconnection_keeps_agents(patch: Patch) -> None:
    patch.setattr(stored_participants, "list_present_on_machine", lambda reader, machine: [])


PRESENCE_FAULTS: Faults = {
    heartbeat_revives_expired_lease: 2,
    heartbeat_always_ok: 2,
    older_participant_rejoins: 0,
    leave_ignores_connection: 1,
    claim_without_presence: 0,
    completion_by_task_id_only: 1,
    resume_despite_newer_participant: 1,
    sweep_expires_after_stall: 0,
    restart_loses_timers: 9,
    absence_without_timer: 0,
    sweep_too_early: 1,
    sweep_never_expires: 0,
    completion_promotes_no_task: 2,
    attempt_not_incremented: 0,
    takeover_without_hold: 1,
    takeover_hold_never_ends: 3,
    restart_loses_takeover_holds: 5,
}
TASK_FAULTS: Faults = {
    retry_ignores_request_limit: 0,
    late_result_of_other_connection: 3,
    late_result_dropped: 0,
    send_back_drops_result: 4,
    acceptance_keeps_holder: 0,
    note_delayed_to_next_claim: 6,
    quarantine_without_alert: 0,
    transition_not_in_table: 8,
}
MACHINE_FAULTS: Faults = {result_rejected_after_reassignment: 3}
REPORT_FAULTS: Faults = {
    outdated_report_counts: 0,
    report_accepted_twice: 0,
    probe_failure_counted: 4,
    old_exit_ends_present_participant: 0,
    exit_releases_any_task_of_role: 5,
    stopped_agent_stays_present: 0,
    clone_takes_machine_back: 0,
    moved_role_waits_for_old_machine: 1,
    crash_loop_without_alert: 1,
    disconnection_keeps_agents: 1,
}
MODELS = (
    (SelfHealing, PRESENCE_FAULTS),
    (WorkIsKept, TASK_FAULTS),
    (MachinesHeal, MACHINE_FAULTS),
    (MachinesMove, REPORT_FAULTS),
)

CASES = [
    pytest.param(machine, plant_fault, seed_number, id=plant_fault.__name__)
    for machine, faults in MODELS
    for plant_fault, seed_number in faults.items()
]


@pytest.mark.parametrize(("machine", "plant_fault", "seed_number"), CASES)
def test_fault_is_found(
    machine: type[RuleBasedStateMachine], plant_fault: Callable[[Patch], None], seed_number: int, monkeypatch: Patch
) -> None:
    plant_fault(monkeypatch)
    seeded_machine = seed(seed_number)(type(machine.__name__, (machine,), {}))
    with pytest.raises(Exception):  # noqa: B017, PT011 - an assertion of the state machine, or a store constraint
        run_state_machine_as_test(seeded_machine, settings=QUICK)
