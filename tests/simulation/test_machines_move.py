"""Two machines, one of them cloned, whose daemons send reports in any order, while users move the roles."""

from contextlib import suppress
from typing import NamedTuple

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.clock import instant_of
from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.domain.errors import Conflict, Refused, RejoinRequired, Superseded
from greenroom.domain.role import PARKED, PAUSED, RUNNING, Role
from greenroom.domain.sitting import ABSENT, CLOSED, PRESENT, Sitting
from greenroom.domain.task import COMPLETED, HELD_STATES, QUARANTINED, Task
from greenroom.store import attentions, rooms, sittings
from greenroom.wire.requests import Fact
from tests.service.house import House

ROLES = ("builder", "reviewer")
MACHINES = ("m1", "m2")
KINDS = ("started", "exited", "parked", "paused", "unparked")
WORKS_NO_SILENCE = ("participant.joined", "participant.left", "participant.superseded", "task.claimed", "role.wished")
"""Events that must not be caused by the mere passing of time."""


class Run(NamedTuple):
    """A participant of a machine's daemon, and optionally a task that it claimed."""

    machine: str
    role: str
    connection: str
    task: str | None = None
    attempt: int | None = None


class Seen(NamedTuple):
    """The stored state of a room, which must not change when a call has no effect."""

    roles: list[Role]
    newest: list[Sitting | None]
    tasks: list[Task]


class MachinesMove(RuleBasedStateMachine):
    """The daemons are arbitrary clients: they omit optional calls and fields, and reorder their calls."""

    @initialize()
    def begin(self) -> None:
        self.house = House()
        self.house.room(roles=ROLES, max_requests=4)
        self.incarnations: dict[str, list[str]] = {}
        for machine in MACHINES:
            self.house.register(machine)
            self.house.beat_machine(machine=machine, incarnation="i1")
            self.incarnations[machine] = ["i1"]
        for role in ROLES:
            self.house.wish(role, machine="m1")
        self.runs: list[Run] = []
        self.sent: list[str] = []
        self.parked: set[str] = set()
        self.count = 0
        self.last_fact: tuple[str, Fact] | None = None
        self.highest: dict[str, int] = {}

    def number(self) -> int:
        self.count += 1
        return self.count

    def as_machine(self, machine: str) -> None:
        self.house.caller = Caller(scope=MACHINE, machine=machine)

    def as_person(self) -> None:
        self.house.caller = THE_OPERATOR

    # Users.

    @rule(
        role=st.sampled_from(ROLES), machine=st.sampled_from((*MACHINES, None)), stopped=st.sampled_from((0, 0, 0, 1))
    )
    def wish(self, role: str, machine: str | None, stopped: int | bool) -> None:
        self.as_person()
        before = self.role(role)
        wished = self.house.wish(role, machine=machine, desired="stopped" if stopped else "running")
        if wished.generation != before.generation:
            self.parked.discard(role)
            assert wished.status not in (PARKED, PAUSED, "backing_off"), "a new agent spec did not clear the hold"

    @rule(role=st.sampled_from(ROLES))
    def send(self, role: str) -> None:
        self.as_person()
        sent = self.house.send(f"{self.number()}", to=role)
        assert sent.task is not None
        self.sent.append(sent.task.id)

    # Daemons.

    @rule(machine=st.sampled_from(MACHINES), which=st.sampled_from(("newest", "newest", "newest", "clone", "new")))
    def beat(self, machine: str, which: str) -> None:
        known = self.incarnations[machine]
        if which == "clone" and len(known) == 1:
            return
        if which == "new":
            known.append(f"new{self.number()}")
        agents = [(run.role, run.connection) for run in {run.role: run for run in self.runs_on(machine)}.values()]
        before = self.look()
        self.as_machine(machine)
        reply = self.house.beat_machine(
            *agents, machine=machine, incarnation=known[-2] if which == "clone" else known[-1]
        )
        if which == "clone":
            assert reply.status == "superseded", "an older incarnation took the machine back"
            assert before == self.look(), "a superseded daemon changed something"
            return
        assert (reply.status, reply.daemon_connected) == ("ok", True)
        for verdict, (role, connection) in zip(reply.agents, agents, strict=True):
            newest = self.newest(role)
            is_here = newest is not None and newest.connection_id == connection and newest.status == PRESENT
            if self.is_wished_on(self.role(role), machine):
                assert (verdict.status == "ok") == is_here, f"{verdict}, but {newest}"

    @rule(role=st.sampled_from(ROLES), machine=st.sampled_from(MACHINES), if_vacant=st.booleans())
    def join(self, role: str, machine: str, if_vacant: bool) -> None:
        wished, newest = self.role(role), self.newest(role)
        connection = f"{machine}.{self.number()}"
        self.as_machine(machine)
        try:
            status = self.house.join(role, connection, if_vacant=if_vacant).status
        except Refused:
            assert not self.is_wished_on(wished, machine), "the assigned machine was not allowed to join"
            return
        except Conflict:
            assert if_vacant
            assert newest is not None
            assert newest.machine in (None, machine), "the new machine of a moved role has to wait"
            return
        assert self.is_wished_on(wished, machine), "a role runs on a machine that it is not assigned to"
        assert status == "ok"
        self.runs.append(Run(machine, role, connection))
        if wished.rests_as == PAUSED:
            assert self.role(role).rests_as is None

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        self.claim_as(data.draw(st.sampled_from(self.runs[-4:])))

    def claim_as(self, run: Run) -> None:
        self.as_machine(run.machine)
        with suppress(RejoinRequired, Superseded, Refused):
            task = self.house.claim(run.role, run.connection)
            if task is not None:
                self.runs.append(run._replace(task=task.id, attempt=task.attempt))

    @rule(role=st.sampled_from(ROLES))
    def work_anew(self, role: str) -> None:
        """The role's machine joins, and claims a new task."""
        machine = self.role(role).machine
        if machine is not None:
            self.send(role)
            self.join(role, machine, if_vacant=False)
            self.claim_as(self.runs[-1])

    @precondition(lambda self: any(run.task for run in self.runs))
    @rule(data=st.data())
    def hand_in(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([run for run in self.runs if run.task][-4:]))
        assert run.task is not None
        assert run.attempt is not None
        self.as_person()
        is_over = self.house.task(run.task).status == COMPLETED
        self.as_machine(run.machine)
        said = f"{run} did it"
        with suppress(Superseded, Refused):  # Refused: it joined without its machine, which was not connected.
            done = self.house.complete(run.task, run.connection, run.attempt, said)
            newest = self.newest(run.role)
            is_first = not is_over and done.accepted_attempt == run.attempt
            if is_first and newest is not None and newest.machine is not None:
                self.parked.discard(run.role)
        sitting = self.sitting(run)
        kept = self.house.task(run.task)
        if sitting is not None and sitting.machine == run.machine:
            assert said in (kept.result, *(late.text for late in kept.late_results)), "a result is lost"

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), kind=st.sampled_from(KINDS), intended=st.sampled_from((None, False, True)), at=st.text())
    def tell(self, data: st.DataObject, kind: str, intended: bool | None, at: str) -> None:
        run = data.draw(st.sampled_from((*self.runs[-6:], self.runs[-1])))
        until_s = data.draw(st.sampled_from((None, None, 60.0)))
        self.tell_of(run, kind, intended, at, until_s)

    @rule(
        role=st.sampled_from(ROLES),
        kinds=st.sampled_from((("exited",), ("exited", "parked"), ("parked", "exited"), ("paused",))),
        is_older=st.booleans(),
    )
    def come_to_an_end(self, role: str, kinds: tuple[str, ...], is_older: bool) -> None:
        """A daemon reports the end of the newest run of a role, or of the one before it."""
        for run in [run for run in self.runs if run.role == role and run.task][-2 if is_older else -1 :][:1]:
            for kind in kinds:
                self.tell_of(run, kind)

    @rule(role=st.sampled_from(ROLES), machine=st.sampled_from((*MACHINES, None)), is_told=st.booleans())
    def take_away(self, role: str, machine: str | None, is_told: bool) -> None:
        """A role is moved, or (None) stopped. Its daemon reports the exit, or the new one joins before that."""
        run = next((run for run in reversed(self.runs) if run.role == role), None)
        self.wish(role, machine or "m1", stopped=machine is None)
        if is_told and run is not None:
            self.tell_of(run, "exited", intended=True)
        elif machine is not None:
            self.join(role, machine, if_vacant=True)

    def tell_of(
        self, run: Run, kind: str, intended: bool | None = None, at: str = "", until_s: float | None = None
    ) -> None:
        body = {
            "id": f"f{self.number()}",
            "kind": kind,
            "room": "r",
            "role": run.role,
            "connection_id": run.connection,
            "task": run.task,
            "attempt": run.attempt,
            "intended": intended,
            "at": at.replace("\x00", "")[:40],
            "until": None if until_s is None else instant_of(self.house.clock.wall() + until_s),
        }
        fact = msgspec.convert(body, Fact)
        before, known = self.look(), self.sitting(run)
        self.as_machine(run.machine)
        reply = self.house.report(fact, machine=run.machine, incarnation=self.incarnations[run.machine][-1])
        self.last_fact = (run.machine, fact)
        if reply.accepted:
            self.check(fact, run, before, known)
        else:
            assert before == self.look()

    @precondition(lambda self: self.last_fact is not None)
    @rule()
    def tell_again(self) -> None:
        assert self.last_fact is not None
        machine, fact = self.last_fact
        before = self.look()
        self.as_machine(machine)
        reply = self.house.report(fact, machine=machine, incarnation=self.incarnations[machine][-1])
        assert reply.accepted == 0, "a report was accepted twice"
        assert before == self.look(), "a repeated report changed something"

    def check(self, fact: Fact, run: Run, before: Seen, known: Sitting | None) -> None:
        """Check what a report changed against what it may and must change."""
        place = ROLES.index(run.role)
        role, after = before.roles[place], self.look()
        is_newest = known is not None and known.epoch == role.epoch
        on_trial = is_newest and known is not None and known.status != CLOSED and run.role in self.parked
        assert after.newest[1 - place] == before.newest[1 - place], "a report changed a participant of another role"
        if not is_newest:
            assert (after.roles, after.newest) == (before.roles, before.newest), (
                "a report about an old participant changed the present one"
            )
        ends_run = fact.kind == "exited" or (
            is_newest and fact.kind in (PARKED, PAUSED) and self.is_wished_on(role, run.machine)
        )
        for was, now in zip(before.tasks, after.tasks, strict=True):
            is_its_own = was.claimed_by == run.connection and was.target_role == run.role
            names_it = (fact.task, fact.attempt) == (was.id, was.attempt)
            if now.status != was.status and was.claimed_by is not None:
                assert is_its_own, "a report released a task that another participant holds"
                assert ends_run
            if was.status in HELD_STATES and is_its_own and names_it and fact.kind == "exited":
                assert now.claimed_by is None, "the task of an exited process was not released"
                assert now.deaths == was.deaths + (not fact.intended and not on_trial), "a failure was miscounted"
        present = after.newest[place]
        if is_newest and fact.kind == "exited" and not (fact.intended and self.is_wished_to_run(role, run.machine)):
            assert present is not None
            assert present.status == CLOSED, "the participant of an exited process is still open"
        if is_newest and self.is_wished_on(role, run.machine):
            self.follow(fact, run.role)

    def follow(self, fact: Fact, role: str) -> None:
        """Update the model's record of whether the role is crash-looping, and compare."""
        rests_as = self.role(role).rests_as
        if fact.kind == PARKED:
            self.parked.add(role)
        elif fact.kind in (PAUSED, "unparked"):
            self.parked.discard(role)
        assert (rests_as == PARKED) == (role in self.parked), f"{role} has the restart hold {rests_as}"
        if fact.kind == PAUSED:
            assert rests_as == PAUSED
        if fact.kind == "exited" and not fact.intended:
            assert rests_as is not None, "a failed agent has no restart hold"

    # Time and the server.

    @rule(pause=st.sampled_from([1.0, 29.0, 61.0, 119.0, 121.5]))
    def pass_time(self, pause: float) -> None:
        begun = len(self.house.events())
        self.house.pass_time(pause)
        told = {event.type for event in self.house.events()[begun:]}
        assert not told & set(WORKS_NO_SILENCE), f"time alone caused events: {told}"
        assert not any(each.startswith("agent.") for each in told)

    @rule()
    def be_silent_for_long(self) -> None:
        limits = self.house.limits
        self.pass_time(limits.daemon_heartbeat_ttl_s + limits.task_lost_after_s + 3 * limits.sweep_interval_s)
        assert not [task for task in self.look().tasks if task.status in HELD_STATES], "a lost holder keeps its task"

    @rule()
    def restart_server(self) -> None:
        before = self.look()
        self.house.open()
        assert before == self.look(), "a restart of the server changed the stored state"

    # State and invariants.

    def look(self) -> Seen:
        self.as_person()
        return Seen(
            roles=[self.role(role) for role in ROLES],
            newest=[self.newest(role) for role in ROLES],
            tasks=[self.house.task(task) for task in self.sent],
        )

    def role(self, name: str) -> Role:
        self.as_person()
        room = self.house.look().id
        role = self.house.store.read(lambda reader: rooms.role(reader, room, name))
        assert role is not None
        return role

    def newest(self, role: str) -> Sitting | None:
        self.as_person()
        room = self.house.look().id
        return self.house.store.read(lambda reader: sittings.newest(reader, room, role))

    def sitting(self, run: Run) -> Sitting | None:
        self.as_person()
        room = self.house.look().id
        return self.house.store.read(lambda reader: sittings.get(reader, room, run.role, run.connection))

    def runs_on(self, machine: str) -> list[Run]:
        return [run for run in self.runs if run.machine == machine]

    def is_wished_on(self, role: Role, machine: str) -> bool:
        return role.is_run_by_daemon and role.machine == machine

    def is_wished_to_run(self, role: Role, machine: str) -> bool:
        return self.is_wished_on(role, machine) and role.desired == RUNNING

    @invariant()
    def numbers_only_rise(self) -> None:
        now = {f"epoch of {each.name}": each.epoch for each in self.look().roles}
        now |= {f"generation of {each.name}": each.generation for each in self.look().roles}
        now |= {f"attempt at {each.id}": each.attempt for each in self.look().tasks}
        for name, number in now.items():
            assert number >= self.highest.get(name, 0), f"the {name} decreased to {number}"
        self.highest |= now

    @invariant()
    def whoever_lasts_as_long_as_a_machine_has_one_that_lasts(self) -> None:
        for sitting in self.look().newest:
            if sitting is not None and sitting.status == PRESENT and sitting.machine is not None:
                assert sitting.machine in self.house.world.leases.machines, f"no lease ever expires for {sitting}"

    @invariant()
    def every_task_is_reachable_and_held_by_who_may_come_back(self) -> None:
        seen = self.look()
        shown = {task.id for task in self.house.look().tasks}
        for task in seen.tasks:
            assert task.status == COMPLETED or task.id in shown, f"{task.id} is missing from the room"
            assert task.deaths < self.house.limits.task_deaths_max or task.status in (QUARANTINED, COMPLETED)
            if task.status in HELD_STATES:
                holder = seen.newest[ROLES.index(task.target_role)]
                assert holder is not None
                assert holder.connection_id == task.claimed_by, "the task's holder was superseded"
                assert holder.status in (PRESENT, ABSENT), "the task's holder is closed"
                assert holder.status == PRESENT or task.id in self.house.world.leases.timers

    @invariant()
    def people_are_told_of_just_those_roles_that_wait_for_them(self) -> None:
        raised = {each.key for each in self.house.store.read(attentions.every)}
        told = {key for key in raised if key.startswith((PARKED, PAUSED))}
        seen = self.look()
        waits = {
            f"{role.rests_as}:{role.room}/{role.name}"
            for role, sitting in zip(seen.roles, seen.newest, strict=True)
            if role.awaits_person
            and role.is_run_by_daemon
            and role.desired == RUNNING
            and (sitting is None or sitting.status != PRESENT)
        }
        assert told == waits, "the alerts differ from the roles that wait for a user"


TestMachinesMove = MachinesMove.TestCase
TestMachinesMove.settings = settings(max_examples=60, stateful_step_count=30)
