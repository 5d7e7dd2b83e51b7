"""Tasks under any order of calls by agents and users: no result is lost, and none counts twice.

Presence is simple here, so that Hypothesis reaches deep states of tasks: the backlog, reviews, late results, notes,
quarantine. Presence itself has a state machine of its own, SelfHealing.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.domain.errors import Conflict
from greenroom.domain.limits import Limits
from greenroom.domain.task import HELD_STATES, OPEN_STATES, Task
from greenroom.service import alerts
from greenroom.service.state.lease_table import role_key
from tests.service.in_process_service import InProcessService
from tests.simulation.task_model import TaskModel, check_request_limit, check_transitions

ROLES = ("builder", "reviewer")
OTHER = {"builder": "reviewer", "reviewer": "builder"}
LIMITS = Limits(max_handoffs=3, task_failures_max=2)
MAX_REQUESTS = 2
DECISIONS = ("cancel", "reset", "queue", "retry", "send_back", "note", "accept")
LIKELY_DECISIONS = {
    "backlog": ("queue", "queue", "note"),
    "queued": ("send_back", "cancel"),
    "pending": ("send_back", "note", "accept"),
    "acknowledged": ("reset", "note", "accept", "cancel"),
    "in_progress": ("reset", "note", "accept", "cancel"),
    "pending_review": ("accept", "send_back", "cancel"),
    "quarantined": ("retry", "retry", "accept"),
    "completed": ("note",),
    "closed": ("accept",),
}
"""The decisions that a user is likely to take on a task, by its status; other decisions are tried as well."""

NOTE_GAP_S = 0.01
"""Time that passes before each note, so that timestamps show the order of notes and claims."""

roles_drawn = st.sampled_from(ROLES)
results_drawn = st.sampled_from(["done", "another thing"])


class WorkIsKept(RuleBasedStateMachine):
    """Two roles with an agent in each, and users who change their decisions."""

    @initialize()
    def begin(self) -> None:
        self.server = InProcessService(LIMITS)
        self.server.create_room(roles=ROLES, max_requests=MAX_REQUESTS)
        self.model = TaskModel()
        self.known: list[str] = []
        self.claims: list[tuple[str, str, int]] = []
        self.connections: dict[str, str] = {}
        self.join_count = 0
        for role in ROLES:
            self.join_role(role)

    def join_role(self, role: str) -> None:
        self.join_count += 1
        self.connections[role] = f"{role}-{self.join_count}"
        assert "ok" == self.server.join(role, self.connections[role]).status

    def track(self, task: str | None) -> None:
        if task is not None and task not in self.known:
            self.known.append(task)

    # Requests.

    @rule(role=roles_drawn, later=st.booleans())
    def add_task(self, role: str, later: bool) -> None:
        if later:
            item = self.server.add_to_backlog(to=role)
            assert "backlog" == item.status
            self.track(item.id)
        else:
            sent = self.server.send_message(to=role).task
            assert sent is not None
            self.track(sent.id)

    # Agents.

    @rule(role=roles_drawn, reviewed=st.booleans())
    def claim(self, role: str, reviewed: bool) -> None:
        """The role's agent claims a task, after one was created if none was pending."""
        if not any((each.status, each.target_role) == ("pending", role) for each in self.server.show_room().tasks):
            self.add_task(role, later=reviewed)
            if reviewed:
                self.server.queue(self.known[-1])
        connection = self.connections[role]
        self.server.join(role, connection)
        task = self.server.claim(role, connection)
        if task is not None and (task.id, connection, task.attempt) not in self.claims:
            assert task.attempt == self.model.attempts.get(task.id, 0) + 1
            self.model.record_claim(task, connection)
            self.claims.append((task.id, connection, task.attempt))

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        how=st.sampled_from(["start", "progress", "complete", "complete", "handoff", "handoff", "decline"]),
        text=results_drawn,
    )
    def work(self, data: st.DataObject, how: str, text: str) -> None:
        """The holder of a claimed attempt calls about it: in time, too late, or repeatedly."""
        task, connection, attempt = data.draw(st.sampled_from(self.claims[-4:]))
        self.attempt_call(how, task, connection, attempt, text)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), attempt=st.integers(1, 4), text=results_drawn)
    def send_foreign_result(self, data: st.DataObject, attempt: int, text: str) -> None:
        """A connection sends a result for an attempt that may not be its own."""
        task, _, _ = data.draw(st.sampled_from(self.claims))
        _, connection, _ = data.draw(st.sampled_from(self.claims))
        self.attempt_call("complete", task, connection, attempt, text)

    def attempt_call(self, how: str, task: str, connection: str, attempt: int, text: str) -> None:
        before = self.server.show_task(task)
        is_result = how in ("complete", "handoff")
        held_attempt = self.model.holder_of.get((task, attempt)) == connection
        try:
            after = self.call(how, before, connection, attempt, text)
        except Conflict as error:
            kept = self.server.show_task(task)
            assert (before.status, before.attempt, before.claimed_by) == (kept.status, kept.attempt, kept.claimed_by)
            if is_result:
                self.model.record_rejected(task, connection, attempt, text, "kept as a late result" in error.guidance)
            return
        assert held_attempt, f"{how} of a connection that never held the attempt was accepted"
        is_repeated = self.model.accepted.get(task) == (connection, attempt)
        assert is_repeated or attempt == before.attempt, f"{how} for an old attempt was accepted"
        if is_result and is_repeated:
            assert (before.status, before.result) == (after.status, after.result), "a repetition changed something"
            self.model.results.add((task, attempt, text))
        elif is_result:
            self.model.record_accepted(after, connection, attempt, text)
        self.track(after.next_task)

    def call(self, how: str, task: Task, connection: str, attempt: int, text: str) -> Task:
        calls: dict[str, Any] = {
            "start": self.server.start,
            "progress": self.server.progress,
            "decline": self.server.decline,
        }
        if how == "complete":
            return self.server.complete(task.id, connection, attempt, text=text)
        if how == "handoff":
            return self.server.handoff(task.id, connection, attempt, to=OTHER[task.target_role], text=text)
        after: Task = calls[how](task.id, connection, attempt)
        return after

    # Ends of agents.

    @rule(role=roles_drawn, how=st.sampled_from(["killed", "left", "superseded", "silent", "silent and back"]))
    def change_agent(self, role: str, how: str) -> None:
        connection = self.connections[role]
        if how in ("killed", "left"):
            self.server.leave(role, connection, cause="exited" if how == "killed" else "left")
        elif how != "superseded":
            self.server.pass_time(LIMITS.heartbeat_ttl_s + LIMITS.task_lost_after_s + 3)
        if how == "silent and back":
            for each in ROLES:
                self.server.join(each, self.connections[each])
        else:
            self.join_role(role)
            self.server.pass_time(LIMITS.takeover_grace_s + 2)

    @rule()
    def restart_server(self) -> None:
        self.server.restart_server()
        self.server.pass_time(LIMITS.takeover_grace_s + 2)

    # Users.

    @precondition(lambda self: self.known)
    @rule(data=st.data(), to=st.sampled_from([None, *ROLES]), is_likely=st.sampled_from([True, True, False]))
    def decide(self, data: st.DataObject, to: str | None, is_likely: bool) -> None:
        """A user takes a decision on a task, whether it is permitted or not."""
        before = self.server.show_task(data.draw(st.sampled_from(self.known[-6:])))
        how = data.draw(st.sampled_from(LIKELY_DECISIONS[before.status] if is_likely else DECISIONS))
        late = data.draw(st.sampled_from([None, *sorted({each.attempt for each in before.late_results})]))
        try:
            after = self.apply_decision(how, before.id, to, late)
        except Conflict:
            assert before == self.server.show_task(before.id), "a rejected decision changed something"
            return
        if how == "accept":
            self.model.record_accepted_by_user(after)
        elif after.accepted_attempt is None:
            self.model.accepted.pop(after.id, None)
        self.track(after.next_task)

    def apply_decision(self, how: str, task: str, to: str | None, late: int | None) -> Task:
        match how:
            case "retry":
                return self.server.retry(task, to=to)
            case "accept":
                return self.server.accept(task, attempt=late)
            case "send_back":
                return self.server.send_back(task, to="backlog" if to == ROLES[0] else None)
            case "note":
                self.server.clock.advance(NOTE_GAP_S)
                noted = self.server.add_note(task, text := f"note {len(self.model.notes.get(task, []))}")
                self.model.notes.setdefault(task, []).append(text)
                return noted
        moves = {"cancel": self.server.cancel, "reset": self.server.reset, "queue": self.server.queue}
        return moves[how](task)

    # Invariants.

    @invariant()
    def no_result_is_lost(self) -> None:
        for task in self.known:
            self.model.check_task(self.server.show_task(task))
        check_transitions(self.server.events())

    @invariant()
    def request_limit_is_kept_and_used(self) -> None:
        open_tasks = self.server.show_room().tasks
        check_request_limit(open_tasks, MAX_REQUESTS)
        requests = [task.request for task in open_tasks]
        assert len(set(requests)) == len(requests), "a request has two open tasks"

    @invariant()
    def heartbeat_delivers_task_and_notes(self) -> None:
        room = self.server.show_room()
        for role in ROLES:
            held = [task for task in room.tasks if task.status in HELD_STATES and task.target_role == role]
            lease = self.server.context.leases.participants.get(role_key(room.id, role))
            if lease is None:
                continue
            held_here = [self.server.show_task(task.id) for task in held if task.claimed_by == lease.connection]
            assert len(held_here) <= 1, "one participant holds two tasks"
            delivered = [note.text for task in held_here for note in task.notes if note.attempt == task.attempt]
            assert [task.id for task in held_here] == ([lease.task.id] if lease.task else [])
            assert delivered == list(lease.held_task.notes if lease.held_task else ()), (
                "a heartbeat does not deliver the notes"
            )

    @invariant()
    def notes_reach_the_holder(self) -> None:
        """Each note belongs to the running attempt, or was written before the next one was claimed."""
        for task_id in self.known:
            task = self.server.show_task(task_id)
            for note in task.notes:
                if task.status in HELD_STATES and note.attempt != task.attempt:
                    assert note.at <= (task.acknowledged_at or ""), "neither a heartbeat nor the claim had this note"

    @invariant()
    def alerts_match_waiting_tasks(self) -> None:
        server = self.server
        kinds = {"quarantined": "quarantined", "pending_review": "review"}
        raised = server.store.read(lambda reader: alerts.list_alerts(server.context, reader, server.principal))
        alerted = {each.id for each in raised if each.kind in kinds.values()}
        assert len(raised) == len({each.id for each in raised}), "an alert is listed twice"
        waiting = {f"{kinds[each.status]}:{each.id}" for each in server.show_room().tasks if each.status in kinds}
        assert waiting == alerted
        for each in raised:
            if each.kind == "late_result":
                task = server.show_task(each.subject)
                assert task.status in OPEN_STATES, "a decision about the task was made since"
                assert task.late_results


TestWorkIsKept = WorkIsKept.TestCase
TestWorkIsKept.settings = settings(max_examples=60, stateful_step_count=40)
