"""Presence and tasks under any order of calls and any passing of time, compared with a reference model.

Hypothesis draws the calls, the callers and the clock. After each step the promises are checked from outside: by the
answers, by a snapshot and by the event log.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.domain.errors import Conflict, GreenroomError, InvalidTransition, RejoinRequired, Superseded, Unusable
from greenroom.domain.task import HELD_STATES, QUARANTINED, Task
from greenroom.service import sweeper
from greenroom.service.state.lease_table import role_key
from tests.service.in_process_service import InProcessService
from tests.simulation.presence_model import RoleModel
from tests.simulation.task_model import check_request_limit, check_transitions

ROLES = ("builder", "reviewer")
CONNECTIONS = ("a", "b", "c", "d")
MAX_REQUESTS = 2

roles_drawn = st.sampled_from(ROLES)
connections_drawn = st.sampled_from(CONNECTIONS)
pauses_drawn = st.sampled_from([0.5, 5.0, 29.0, 45.0, 89.0, 90.0, 91.5, 130.0, 152.0, 200.0])


class SelfHealing(RuleBasedStateMachine):
    """Two roles, four connections that may join either, tasks that come and go, and a clock."""

    @initialize()
    def begin(self) -> None:
        self.server = InProcessService()
        self.server.create_room(roles=ROLES, max_requests=MAX_REQUESTS)
        self.models = {role: RoleModel() for role in ROLES}
        self.held: dict[tuple[str, str], tuple[str, int]] = {}
        self.sent: list[str] = []
        self.accepted: dict[str, tuple[str, int]] = {}
        self.declined: dict[str, tuple[str, int]] = {}
        self.epochs: dict[str, int] = dict.fromkeys(ROLES, 0)
        self.attempts: dict[str, int] = {}

    @property
    def now(self) -> float:
        return self.server.clock.monotonic()

    @property
    def takeover_ends_at(self) -> float:
        return self.now + self.server.limits.takeover_grace_s

    def held_task_of(self, role: str) -> str | None:
        """The task that the present participant of a role holds."""
        holder = (role, self.models[role].newest)
        held = [task for task in self.server.show_room().tasks if task.status in HELD_STATES]
        return next((task.id for task in held if (task.target_role, task.claimed_by) == holder), None)

    def claimable_task(self, role: str) -> str | None:
        """The task that a claim must return: the oldest pending one, unless a takeover still holds it back."""
        pending = [
            task for task in self.server.show_room().tasks if (task.status, task.target_role) == ("pending", role)
        ]
        return pending[0].id if pending and self.models[role].can_claim(pending[0].id, self.now) else None

    # Presence.

    @rule(role=roles_drawn, connection=connections_drawn)
    def join(self, role: str, connection: str) -> None:
        self.models[role].record_takeover(connection, self.held_task_of(role), self.takeover_ends_at)
        expected = self.models[role].record_join(connection, self.now)
        reply = self.server.join(role, connection)
        assert expected == reply.status
        assert reply.epoch >= self.epochs[role], "the epoch decreased"
        self.epochs[role] = reply.epoch

    @rule(role=roles_drawn, connection=connections_drawn)
    def beat(self, role: str, connection: str) -> None:
        expected = self.models[role].verdict(connection)
        assert expected == self.server.beat(role, connection).status
        if expected == "ok":
            self.models[role].seen_at = self.now

    @rule(role=roles_drawn, connection=connections_drawn, cause=st.sampled_from(["left", "exited", "stopped"]))
    def leave(self, role: str, connection: str, cause: str) -> None:
        self.server.leave(role, connection, cause=cause)
        self.models[role].record_stop(connection)
        self.models[role].record_leave(connection)

    @rule(pause=pauses_drawn)
    def pass_time(self, pause: float) -> None:
        self.server.pass_time(pause)
        self.expire_models()

    @rule(pause=pauses_drawn)
    def stall(self, pause: float) -> None:
        """The server stalls: no lease may expire because of heartbeats that it could not receive."""
        before = {role: model.is_present for role, model in self.models.items()}
        self.server.clock.advance(pause)
        sweeper.tick(self.server.context)
        ttl = self.server.limits.heartbeat_ttl_s
        if pause - self.server.limits.sweep_interval_s > ttl / 10:
            assert before == {role: self.is_present_in_room(role) for role in ROLES}, (
                "a lease expired by a server stall"
            )
            for model in self.models.values():
                model.seen_at = max(model.seen_at, self.now)
                model.extend_takeovers(self.now - pause, self.takeover_ends_at)
        else:
            self.expire_models()

    @rule()
    def restart_server(self) -> None:
        self.server.restart_server()
        for model in self.models.values():
            model.seen_at = max(model.seen_at, self.now)
        for task in self.server.show_room().tasks:
            if task.status == "pending" and task.released_cause == "superseded" and task.last_holder is not None:
                self.models[task.target_role].takeover_holds[task.id] = (task.last_holder, self.takeover_ends_at)

    # Tasks.

    @rule(to=st.sampled_from((None, *ROLES)))
    def send(self, to: str | None) -> None:
        task = self.server.send_message(to=to).task
        assert task is not None
        self.sent.append(task.id)

    @rule(role=roles_drawn, connection=connections_drawn)
    def claim(self, role: str, connection: str) -> None:
        verdict, due = self.models[role].verdict(connection), self.held_task_of(role) or self.claimable_task(role)
        try:
            task = self.server.claim(role, connection)
        except RejoinRequired:
            assert verdict == "rejoin_required"
            return
        except Superseded:
            assert verdict == "superseded"
            return
        assert verdict == "ok", "a claim of a connection that is not present was answered"
        self.models[role].seen_at = self.now
        assert due == (task.id if task is not None else None), "a claim returned the wrong task"
        if task is None:
            return
        assert task.target_role == role
        last = self.attempts.get(task.id, 0)
        if self.held.get((role, connection)) == (task.id, task.attempt):
            assert task.attempt == last
        else:
            assert task.attempt == last + 1, "an attempt number was repeated or skipped"
        self.attempts[task.id] = task.attempt
        self.held[role, connection] = (task.id, task.attempt)

    @rule(role=roles_drawn, connection=connections_drawn)
    def begin_work(self, role: str, connection: str) -> None:
        """A connection joins and claims a new task, which single draws reach too rarely."""
        self.send(role)
        self.join(role, connection)
        self.claim(role, connection)

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        how=st.sampled_from(["start", "progress", "complete", "handoff", "decline"]),
        connection=st.one_of(st.none(), connections_drawn),
        shift=st.sampled_from([0, 0, 0, -1, 1]),
    )
    def work(self, data: st.DataObject, how: str, connection: str | None, shift: int) -> None:
        """A call about a claimed attempt: by its own connection or another, perhaps with a wrong attempt number."""
        (role, holder), (task_id, attempt) = data.draw(st.sampled_from(sorted(self.held.items())))
        caller, named = connection or holder, max(1, attempt + shift)
        before = self.server.show_task(task_id)
        entitled = self.is_entitled(role, before, caller, named)
        try:
            after = self.call(how, task_id, caller, named)
        except GreenroomError as error:
            self.check_rejected(before, entitled, error)
            return
        if how == "decline":
            repeated = before.status == QUARANTINED and self.declined.get(task_id) == (caller, named)
            self.declined[task_id] = (caller, named)
        else:
            repeated = how in ("complete", "handoff") and self.accepted.get(task_id) == (caller, named)
        assert entitled or repeated, f"{how} of {caller}#{named} was accepted: {before}"
        if how in ("complete", "handoff") and not repeated:
            assert task_id not in self.accepted, "two results were accepted"
            self.accepted[task_id] = (caller, named)
        if repeated:
            assert (before.status, before.result, before.reason) == (after.status, after.result, after.reason)
        if entitled:
            self.models[role].is_present, self.models[role].seen_at = True, self.now
        assert after.attempt == before.attempt

    def check_rejected(self, before: Task, entitled: bool, error: GreenroomError) -> None:
        assert isinstance(error, Conflict | Unusable)
        assert not entitled or isinstance(error, InvalidTransition), f"the holder was rejected: {error}"
        kept = self.server.show_task(before.id)
        assert (before.status, before.attempt, before.claimed_by) == (kept.status, kept.attempt, kept.claimed_by)

    def call(self, how: str, task: str, connection: str, attempt: int) -> Task:
        if how == "handoff":
            return self.server.handoff(task, connection, attempt, to=ROLES[1])
        calls: dict[str, Any] = {
            "start": self.server.start,
            "progress": self.server.progress,
            "complete": self.server.complete,
            "decline": self.server.decline,
        }
        result: Task = calls[how](task, connection, attempt)
        return result

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), how=st.sampled_from(["cancel", "reset", "retry"]))
    def intervene(self, data: st.DataObject, how: str) -> None:
        task = self.server.show_task(data.draw(st.sampled_from(self.sent)))
        try:
            getattr(self.server, how)(task.id)
        except InvalidTransition:
            assert task == self.server.show_task(task.id), "a rejected transition changed something"

    # Invariants.

    def is_entitled(self, role: str, task: Task, connection: str, attempt: int) -> bool:
        """Whether a call must be accepted: the attempt holds the task, or was lost and no newer participant joined."""
        model = self.models[role]
        if connection in model.closed or connection != model.newest or attempt != task.attempt:
            return False
        if task.status in HELD_STATES:
            return task.claimed_by == connection
        return task.status == "pending" and task.released_cause == "lost" and task.last_holder == connection

    def is_present_in_room(self, role: str) -> bool:
        return any(each.role == role for each in self.server.show_room().participants)

    def expire_models(self) -> None:
        limits = self.server.limits
        for role, model in self.models.items():
            silent = self.now - model.seen_at
            if model.is_present and silent >= limits.heartbeat_ttl_s + limits.sweep_interval_s:
                assert not self.is_present_in_room(role), f"{role} is present {silent} s after its last heartbeat"
            if model.is_present and silent < limits.heartbeat_ttl_s:
                assert self.is_present_in_room(role), f"{role} was removed {silent} s after its last heartbeat"
            model.is_present = self.is_present_in_room(role)

    @invariant()
    def memory_agrees_with_the_store(self) -> None:
        room = self.server.show_room()
        context = self.server.context
        for role in ROLES:
            shown = next((each for each in room.participants if each.role == role), None)
            lease = context.leases.participants.get(role_key(room.id, role))
            assert (shown.connection_id if shown else None) == (lease.connection if lease else None)
            assert self.models[role].is_present == (shown is not None)
            if shown is not None and lease is not None:
                assert self.models[role].newest == shown.connection_id
                holder = (role, shown.connection_id)
                held = [task for task in room.tasks if task.status in HELD_STATES]
                held_here = [task for task in held if (task.target_role, task.claimed_by) == holder]
                assert len(held_here) <= 1, "one participant holds two tasks"
                assert (lease.task.id if lease.task else None) == (held_here[0].id if held_here else None)

    @invariant()
    def held_tasks_have_holder_or_timer(self) -> None:
        room = self.server.show_room()
        context = self.server.context
        present = {(each.role, each.connection_id) for each in room.participants}
        for task in room.tasks:
            if task.status in HELD_STATES and (task.target_role, task.claimed_by) not in present:
                assert task.id in context.leases.timers, f"{task.id} has neither a holder nor a timer"
            else:
                assert task.id not in context.leases.timers, f"a timer runs for {task.id}, which is {task.status}"

    @invariant()
    def request_limit_is_kept_and_used(self) -> None:
        check_request_limit(self.server.show_room().tasks, MAX_REQUESTS)

    @invariant()
    def log_has_no_gaps(self) -> None:
        events = self.server.events()
        check_transitions(events)
        assert [event.pos for event in events] == list(range(1, len(events) + 1))
        last: dict[str, int] = {}
        for event in events:
            assert event.seq == last.get(event.stream, 0) + 1
            last[event.stream] = event.seq

    @invariant()
    def no_sent_task_is_lost(self) -> None:
        for task in self.sent:
            assert self.server.show_task(task).id == task


TestSelfHealing = SelfHealing.TestCase
TestSelfHealing.settings = settings(max_examples=60, stateful_step_count=40)
