"""Two machines, one of them cloned, whose daemons send reports in any order, while users move the roles."""

from contextlib import suppress
from typing import NamedTuple

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.clock import format_instant
from greenroom.domain.errors import Conflict, Refused, RejoinRequired, Superseded
from greenroom.domain.participant import ABSENT, CLOSED, PRESENT, Participant
from greenroom.domain.principal import MACHINE, OPERATOR_PRINCIPAL, Principal
from greenroom.domain.role import CRASH_LOOPING, PAUSED, RUNNING, Role
from greenroom.domain.task import COMPLETED, HELD_STATES, QUARANTINED, Task
from greenroom.store import alerts, participants, rooms
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService

ROLES = ("builder", "reviewer")
MACHINES = ("m1", "m2")
KINDS = ("started", "exited", "crash_looping", "paused", "recovered")
NOT_CAUSED_BY_TIME = (
    "participant.joined",
    "participant.left",
    "participant.superseded",
    "task.claimed",
    "agent.configured",
)
"""Events that must not be caused by the mere passing of time."""


class DaemonRun(NamedTuple):
    """A participant of a machine's daemon, and optionally a task that it claimed."""

    machine: str
    role: str
    connection: str
    task: str | None = None
    attempt: int | None = None


class RoomState(NamedTuple):
    """The stored state of a room, which must not change when a call has no effect."""

    roles: list[Role]
    newest: list[Participant | None]
    tasks: list[Task]


class MachinesMove(RuleBasedStateMachine):
    """The daemons are arbitrary clients: they omit optional calls and fields, and reorder their calls."""

    @initialize()
    def begin(self) -> None:
        self.server = InProcessService()
        self.server.create_room(roles=ROLES, max_requests=4)
        self.incarnations: dict[str, list[str]] = {}
        for machine in MACHINES:
            self.server.register_machine(machine)
            self.server.beat_machine(machine=machine, incarnation="i1")
            self.incarnations[machine] = ["i1"]
        for role in ROLES:
            self.server.set_agent_spec(role, machine="m1")
        self.runs: list[DaemonRun] = []
        self.tasks: list[str] = []
        self.crash_looping: set[str] = set()
        self.count = 0
        self.last_report: tuple[str, AgentReport] | None = None
        self.highest: dict[str, int] = {}

    def next_number(self) -> int:
        self.count += 1
        return self.count

    def as_machine(self, machine: str) -> None:
        self.server.principal = Principal(scope=MACHINE, machine=machine)

    def as_user(self) -> None:
        self.server.principal = OPERATOR_PRINCIPAL

    # Users.

    @rule(
        role=st.sampled_from(ROLES), machine=st.sampled_from((*MACHINES, None)), stopped=st.sampled_from((0, 0, 0, 1))
    )
    def set_agent_spec(self, role: str, machine: str | None, stopped: int | bool) -> None:
        self.as_user()
        before = self.role(role)
        view = self.server.set_agent_spec(role, machine=machine, desired="stopped" if stopped else "running")
        if view.generation != before.generation:
            self.crash_looping.discard(role)
            assert view.status not in (CRASH_LOOPING, PAUSED, "backing_off"), "a new agent spec did not clear the hold"

    @rule(role=st.sampled_from(ROLES))
    def send(self, role: str) -> None:
        self.as_user()
        sent = self.server.send_message(f"{self.next_number()}", to=role)
        assert sent.task is not None
        self.tasks.append(sent.task.id)

    # Daemons.

    @rule(machine=st.sampled_from(MACHINES), which=st.sampled_from(("newest", "newest", "newest", "clone", "new")))
    def beat(self, machine: str, which: str) -> None:
        known = self.incarnations[machine]
        if which == "clone" and len(known) == 1:
            return
        if which == "new":
            known.append(f"new{self.next_number()}")
        agents = [(run.role, run.connection) for run in {run.role: run for run in self.runs_on(machine)}.values()]
        before = self.room_state()
        self.as_machine(machine)
        reply = self.server.beat_machine(
            *agents, machine=machine, incarnation=known[-2] if which == "clone" else known[-1]
        )
        if which == "clone":
            assert reply.status == "superseded", "an older incarnation took the machine back"
            assert before == self.room_state(), "a superseded daemon changed something"
            return
        assert (reply.status, reply.daemon_connected) == ("ok", True)
        for verdict, (role, connection) in zip(reply.agents, agents, strict=True):
            newest = self.newest(role)
            is_here = newest is not None and newest.connection_id == connection and newest.status == PRESENT
            if self.is_assigned_to(self.role(role), machine):
                assert (verdict.status == "ok") == is_here, f"{verdict}, but {newest}"

    @rule(role=st.sampled_from(ROLES), machine=st.sampled_from(MACHINES), if_vacant=st.booleans())
    def join(self, role: str, machine: str, if_vacant: bool) -> None:
        view, newest = self.role(role), self.newest(role)
        connection = f"{machine}.{self.next_number()}"
        self.as_machine(machine)
        try:
            status = self.server.join(role, connection, if_vacant=if_vacant).status
        except Refused:
            assert not self.is_assigned_to(view, machine), "the assigned machine was not allowed to join"
            return
        except Conflict:
            assert if_vacant
            assert newest is not None
            assert newest.machine in (None, machine), "the new machine of a moved role has to wait"
            return
        assert self.is_assigned_to(view, machine), "a role runs on a machine that it is not assigned to"
        assert status == "ok"
        self.runs.append(DaemonRun(machine, role, connection))
        if view.hold == PAUSED:
            assert self.role(role).hold is None

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        self.claim_as(data.draw(st.sampled_from(self.runs[-4:])))

    def claim_as(self, run: DaemonRun) -> None:
        self.as_machine(run.machine)
        with suppress(RejoinRequired, Superseded, Refused):
            task = self.server.claim(run.role, run.connection)
            if task is not None:
                self.runs.append(run._replace(task=task.id, attempt=task.attempt))

    @rule(role=st.sampled_from(ROLES))
    def start_work(self, role: str) -> None:
        """The role's machine joins, and claims a new task."""
        machine = self.role(role).machine
        if machine is not None:
            self.send(role)
            self.join(role, machine, if_vacant=False)
            self.claim_as(self.runs[-1])

    @precondition(lambda self: any(run.task for run in self.runs))
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([run for run in self.runs if run.task][-4:]))
        assert run.task is not None
        assert run.attempt is not None
        self.as_user()
        is_over = self.server.show_task(run.task).status == COMPLETED
        self.as_machine(run.machine)
        result_text = f"{run} did it"
        with suppress(Superseded, Refused):  # Refused: it joined without its machine, which was not connected.
            done = self.server.complete(run.task, run.connection, run.attempt, result_text)
            newest = self.newest(run.role)
            is_first = not is_over and done.accepted_attempt == run.attempt
            if is_first and newest is not None and newest.machine is not None:
                self.crash_looping.discard(run.role)
        participant = self.participant(run)
        kept = self.server.show_task(run.task)
        if participant is not None and participant.machine == run.machine:
            assert result_text in (kept.result, *(late.text for late in kept.late_results)), "a result is lost"

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), kind=st.sampled_from(KINDS), intended=st.sampled_from((None, False, True)), at=st.text())
    def report_run(self, data: st.DataObject, kind: str, intended: bool | None, at: str) -> None:
        run = data.draw(st.sampled_from((*self.runs[-6:], self.runs[-1])))
        until_s = data.draw(st.sampled_from((None, None, 60.0)))
        self.send_report(run, kind, intended, at, until_s)

    @rule(
        role=st.sampled_from(ROLES),
        kinds=st.sampled_from((("exited",), ("exited", "crash_looping"), ("crash_looping", "exited"), ("paused",))),
        is_older=st.booleans(),
    )
    def end_newest_run(self, role: str, kinds: tuple[str, ...], is_older: bool) -> None:
        """A daemon reports the end of the newest run of a role, or of the one before it."""
        for run in [run for run in self.runs if run.role == role and run.task][-2 if is_older else -1 :][:1]:
            for kind in kinds:
                self.send_report(run, kind)

    @rule(role=st.sampled_from(ROLES), machine=st.sampled_from((*MACHINES, None)), is_reported=st.booleans())
    def move_or_stop(self, role: str, machine: str | None, is_reported: bool) -> None:
        """A role is moved, or (None) stopped. Its daemon reports the exit, or the new one joins before that."""
        run = next((run for run in reversed(self.runs) if run.role == role), None)
        self.set_agent_spec(role, machine or "m1", stopped=machine is None)
        if is_reported and run is not None:
            self.send_report(run, "exited", intended=True)
        elif machine is not None:
            self.join(role, machine, if_vacant=True)

    def send_report(
        self, run: DaemonRun, kind: str, intended: bool | None = None, at: str = "", until_s: float | None = None
    ) -> None:
        body = {
            "id": f"f{self.next_number()}",
            "kind": kind,
            "room": "r",
            "role": run.role,
            "connection_id": run.connection,
            "task": run.task,
            "attempt": run.attempt,
            "intended": intended,
            "at": at.replace("\x00", "")[:40],
            "until": None if until_s is None else format_instant(self.server.clock.wall() + until_s),
        }
        report = msgspec.convert(body, AgentReport)
        before, known = self.room_state(), self.participant(run)
        self.as_machine(run.machine)
        reply = self.server.send_reports(report, machine=run.machine, incarnation=self.incarnations[run.machine][-1])
        self.last_report = (run.machine, report)
        if reply.accepted:
            self.check_effects(report, run, before, known)
        else:
            assert before == self.room_state()

    @precondition(lambda self: self.last_report is not None)
    @rule()
    def send_report_again(self) -> None:
        assert self.last_report is not None
        machine, report = self.last_report
        before = self.room_state()
        self.as_machine(machine)
        reply = self.server.send_reports(report, machine=machine, incarnation=self.incarnations[machine][-1])
        assert reply.accepted == 0, "a report was accepted twice"
        assert before == self.room_state(), "a repeated report changed something"

    def check_effects(self, report: AgentReport, run: DaemonRun, before: RoomState, known: Participant | None) -> None:
        """Check what a report changed against what it may and must change."""
        place = ROLES.index(run.role)
        role, after = before.roles[place], self.room_state()
        is_newest = known is not None and known.epoch == role.epoch
        is_probe = is_newest and known is not None and known.status != CLOSED and run.role in self.crash_looping
        assert after.newest[1 - place] == before.newest[1 - place], "a report changed a participant of another role"
        if not is_newest:
            assert (after.roles, after.newest) == (before.roles, before.newest), (
                "a report about an old participant changed the present one"
            )
        ends_run = report.kind == "exited" or (
            is_newest and report.kind in (CRASH_LOOPING, PAUSED) and self.is_assigned_to(role, run.machine)
        )
        for was, now in zip(before.tasks, after.tasks, strict=True):
            is_its_own = was.claimed_by == run.connection and was.target_role == run.role
            names_it = (report.task, report.attempt) == (was.id, was.attempt)
            if now.status != was.status and was.claimed_by is not None:
                assert is_its_own, "a report released a task that another participant holds"
                assert ends_run
            if was.status in HELD_STATES and is_its_own and names_it and report.kind == "exited":
                assert now.claimed_by is None, "the task of an exited process was not released"
                assert now.failures == was.failures + (not report.intended and not is_probe), "a failure was miscounted"
        present = after.newest[place]
        if is_newest and report.kind == "exited" and not (report.intended and self.should_run_on(role, run.machine)):
            assert present is not None
            assert present.status == CLOSED, "the participant of an exited process is still open"
        if is_newest and self.is_assigned_to(role, run.machine):
            self.check_hold(report, run.role)

    def check_hold(self, report: AgentReport, role: str) -> None:
        """Update the model's record of whether the role is crash-looping, and compare."""
        hold = self.role(role).hold
        if report.kind == CRASH_LOOPING:
            self.crash_looping.add(role)
        elif report.kind in (PAUSED, "recovered"):
            self.crash_looping.discard(role)
        assert (hold == CRASH_LOOPING) == (role in self.crash_looping), f"{role} has the restart hold {hold}"
        if report.kind == PAUSED:
            assert hold == PAUSED
        if report.kind == "exited" and not report.intended:
            assert hold is not None, "a failed agent has no restart hold"

    # Time and the server.

    @rule(pause=st.sampled_from([1.0, 29.0, 61.0, 119.0, 121.5]))
    def pass_time(self, pause: float) -> None:
        first_new = len(self.server.events())
        self.server.pass_time(pause)
        event_types = {event.type for event in self.server.events()[first_new:]}
        assert not event_types & set(NOT_CAUSED_BY_TIME), f"time alone caused events: {event_types}"
        assert not any(each.startswith("agent.") for each in event_types)

    @rule()
    def pass_long_time(self) -> None:
        limits = self.server.limits
        self.pass_time(limits.daemon_heartbeat_ttl_s + limits.task_lost_after_s + 3 * limits.sweep_interval_s)
        assert not [task for task in self.room_state().tasks if task.status in HELD_STATES], (
            "a lost holder keeps its task"
        )

    @rule()
    def restart_server(self) -> None:
        before = self.room_state()
        self.server.restart_server()
        assert before == self.room_state(), "a restart of the server changed the stored state"

    # State and invariants.

    def room_state(self) -> RoomState:
        self.as_user()
        return RoomState(
            roles=[self.role(role) for role in ROLES],
            newest=[self.newest(role) for role in ROLES],
            tasks=[self.server.show_task(task) for task in self.tasks],
        )

    def role(self, name: str) -> Role:
        self.as_user()
        room = self.server.show_room().id
        role = self.server.store.read(lambda reader: rooms.get_role(reader, room, name))
        assert role is not None
        return role

    def newest(self, role: str) -> Participant | None:
        self.as_user()
        room = self.server.show_room().id
        return self.server.store.read(lambda reader: participants.get_newest(reader, room, role))

    def participant(self, run: DaemonRun) -> Participant | None:
        self.as_user()
        room = self.server.show_room().id
        return self.server.store.read(lambda reader: participants.get(reader, room, run.role, run.connection))

    def runs_on(self, machine: str) -> list[DaemonRun]:
        return [run for run in self.runs if run.machine == machine]

    def is_assigned_to(self, role: Role, machine: str) -> bool:
        return role.is_run_by_daemon and role.machine == machine

    def should_run_on(self, role: Role, machine: str) -> bool:
        return self.is_assigned_to(role, machine) and role.desired == RUNNING

    @invariant()
    def numbers_never_decrease(self) -> None:
        now = {f"epoch of {each.name}": each.epoch for each in self.room_state().roles}
        now |= {f"generation of {each.name}": each.generation for each in self.room_state().roles}
        now |= {f"attempt at {each.id}": each.attempt for each in self.room_state().tasks}
        for name, number in now.items():
            assert number >= self.highest.get(name, 0), f"the {name} decreased to {number}"
        self.highest |= now

    @invariant()
    def machine_participants_have_machine_lease(self) -> None:
        for participant in self.room_state().newest:
            if participant is not None and participant.status == PRESENT and participant.machine is not None:
                assert participant.machine in self.server.context.leases.machines, (
                    f"no lease ever expires for {participant}"
                )

    @invariant()
    def tasks_are_listed_and_held_by_open_participants(self) -> None:
        seen = self.room_state()
        shown = {task.id for task in self.server.show_room().tasks}
        for task in seen.tasks:
            assert task.status == COMPLETED or task.id in shown, f"{task.id} is missing from the room"
            assert task.failures < self.server.limits.task_failures_max or task.status in (QUARANTINED, COMPLETED)
            if task.status in HELD_STATES:
                holder = seen.newest[ROLES.index(task.target_role)]
                assert holder is not None
                assert holder.connection_id == task.claimed_by, "the task's holder was superseded"
                assert holder.status in (PRESENT, ABSENT), "the task's holder is closed"
                assert holder.status == PRESENT or task.id in self.server.context.leases.timers

    @invariant()
    def alerts_match_waiting_roles(self) -> None:
        raised = {each.key for each in self.server.store.read(alerts.list_all)}
        alerted = {key for key in raised if key.startswith((CRASH_LOOPING, PAUSED))}
        seen = self.room_state()
        waits = {
            f"{role.hold}:{role.room}/{role.name}"
            for role, participant in zip(seen.roles, seen.newest, strict=True)
            if role.needs_user
            and role.is_run_by_daemon
            and role.desired == RUNNING
            and (participant is None or participant.status != PRESENT)
        }
        assert alerted == waits, "the alerts differ from the roles that wait for a user"


TestMachinesMove = MachinesMove.TestCase
TestMachinesMove.settings = settings(max_examples=60, stateful_step_count=30)
