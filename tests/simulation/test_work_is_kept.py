"""Tasks under any order of calls by agents and users: no result is lost, and none counts twice.

Presence is simple here, so that Hypothesis reaches deep states of tasks: the backlog, reviews, late results, notes,
quarantine. Presence itself has a state machine of its own, SelfHealing.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.domain.errors import Conflict
from greenroom.domain.reliability import Reliability
from greenroom.domain.task import HELD_STATES, Task
from greenroom.service import attention
from greenroom.service.leases import seat_key
from tests.service.house import House
from tests.simulation.ledger import Ledger, check_moves, check_places

ROLES = ("builder", "reviewer")
OTHER = {"builder": "reviewer", "reviewer": "builder"}
LIMITS = Reliability(max_handoffs=3, task_deaths_max=2)
MAX_REQUESTS = 2
DECISIONS = ("cancel", "reset", "queue", "retry", "send_back", "note", "accept")
SENSIBLE = {
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

A_MOMENT_S = 0.01
"""Time that passes before each note, so that timestamps show the order of notes and claims."""

roles_drawn = st.sampled_from(ROLES)
results_drawn = st.sampled_from(["done", "another thing"])


class WorkIsKept(RuleBasedStateMachine):
    """Two roles with an agent in each, and users who change their decisions."""

    @initialize()
    def begin(self) -> None:
        self.house = House(LIMITS)
        self.house.room(roles=ROLES, max_requests=MAX_REQUESTS)
        self.ledger = Ledger()
        self.known: list[str] = []
        self.given: list[tuple[str, str, int]] = []
        self.sitting: dict[str, str] = {}
        self.sittings = 0
        for role in ROLES:
            self.sit(role)

    def sit(self, role: str) -> None:
        self.sittings += 1
        self.sitting[role] = f"{role}-{self.sittings}"
        assert "ok" == self.house.join(role, self.sitting[role]).status

    def hear_of(self, task: str | None) -> None:
        if task is not None and task not in self.known:
            self.known.append(task)

    # Requests.

    @rule(role=roles_drawn, later=st.booleans())
    def ask(self, role: str, later: bool) -> None:
        if later:
            item = self.house.backlog(to=role)
            assert "backlog" == item.status
            self.hear_of(item.id)
        else:
            sent = self.house.send(to=role).task
            assert sent is not None
            self.hear_of(sent.id)

    # Agents.

    @rule(role=roles_drawn, reviewed=st.booleans())
    def take(self, role: str, reviewed: bool) -> None:
        """The role's agent claims a task, after one was created if none was pending."""
        if not any((each.status, each.target_role) == ("pending", role) for each in self.house.look().tasks):
            self.ask(role, later=reviewed)
            if reviewed:
                self.house.queue(self.known[-1])
        connection = self.sitting[role]
        self.house.join(role, connection)
        task = self.house.claim(role, connection)
        if task is not None and (task.id, connection, task.attempt) not in self.given:
            assert task.attempt == self.ledger.attempts.get(task.id, 0) + 1
            self.ledger.claimed(task, connection)
            self.given.append((task.id, connection, task.attempt))

    @precondition(lambda self: self.given)
    @rule(
        data=st.data(),
        how=st.sampled_from(["start", "progress", "complete", "complete", "handoff", "handoff", "decline"]),
        text=results_drawn,
    )
    def work(self, data: st.DataObject, how: str, text: str) -> None:
        """The holder of a claimed attempt calls about it: in time, too late, or repeatedly."""
        task, connection, attempt = data.draw(st.sampled_from(self.given[-4:]))
        self.try_to(how, task, connection, attempt, text)

    @precondition(lambda self: self.given)
    @rule(data=st.data(), attempt=st.integers(1, 4), text=results_drawn)
    def intrude(self, data: st.DataObject, attempt: int, text: str) -> None:
        """A connection sends a result for an attempt that may not be its own."""
        task, _, _ = data.draw(st.sampled_from(self.given))
        _, connection, _ = data.draw(st.sampled_from(self.given))
        self.try_to("complete", task, connection, attempt, text)

    def try_to(self, how: str, task: str, connection: str, attempt: int, text: str) -> None:
        before = self.house.task(task)
        is_result = how in ("complete", "handoff")
        is_theirs = self.ledger.holder_of.get((task, attempt)) == connection
        try:
            after = self.call(how, before, connection, attempt, text)
        except Conflict as error:
            kept = self.house.task(task)
            assert (before.status, before.attempt, before.claimed_by) == (kept.status, kept.attempt, kept.claimed_by)
            if is_result:
                self.ledger.refused(task, connection, attempt, text, "kept as a late result" in error.guidance)
            return
        assert is_theirs, f"{how} of a connection that never held the attempt was accepted"
        counts_already = self.ledger.counting.get(task) == (connection, attempt)
        assert counts_already or attempt == before.attempt, f"{how} for an old attempt was accepted"
        if is_result and counts_already:
            assert (before.status, before.result) == (after.status, after.result), "a repetition changed something"
            self.ledger.results.add((task, attempt, text))
        elif is_result:
            self.ledger.counts(after, connection, attempt, text)
        self.hear_of(after.next_task)

    def call(self, how: str, task: Task, connection: str, attempt: int, text: str) -> Task:
        calls: dict[str, Any] = {
            "start": self.house.start,
            "progress": self.house.progress,
            "decline": self.house.decline,
        }
        if how == "complete":
            return self.house.complete(task.id, connection, attempt, text=text)
        if how == "handoff":
            return self.house.handoff(task.id, connection, attempt, to=OTHER[task.target_role], text=text)
        after: Task = calls[how](task.id, connection, attempt)
        return after

    # Ends of agents.

    @rule(role=roles_drawn, how=st.sampled_from(["killed", "left", "superseded", "silent", "silent and back"]))
    def go(self, role: str, how: str) -> None:
        connection = self.sitting[role]
        if how in ("killed", "left"):
            self.house.leave(role, connection, cause="exited" if how == "killed" else "left")
        elif how != "superseded":
            self.house.pass_time(LIMITS.heartbeat_ttl_s + LIMITS.task_lost_after_s + 3)
        if how == "silent and back":
            for each in ROLES:
                self.house.join(each, self.sitting[each])
        else:
            self.sit(role)
            self.house.pass_time(LIMITS.takeover_grace_s + 2)

    @rule()
    def restart_server(self) -> None:
        self.house.open()
        self.house.pass_time(LIMITS.takeover_grace_s + 2)

    # Users.

    @precondition(lambda self: self.known)
    @rule(data=st.data(), to=st.sampled_from([None, *ROLES]), sensibly=st.sampled_from([True, True, False]))
    def decide(self, data: st.DataObject, to: str | None, sensibly: bool) -> None:
        """A user takes a decision on a task, whether it is permitted or not."""
        before = self.house.task(data.draw(st.sampled_from(self.known[-6:])))
        how = data.draw(st.sampled_from(SENSIBLE[before.status] if sensibly else DECISIONS))
        late = data.draw(st.sampled_from([None, *sorted({each.attempt for each in before.late_results})]))
        try:
            after = self.person(how, before.id, to, late)
        except Conflict:
            assert before == self.house.task(before.id), "a rejected decision changed something"
            return
        if how == "accept":
            self.ledger.taken(after)
        elif after.accepted_attempt is None:
            self.ledger.counting.pop(after.id, None)
        self.hear_of(after.next_task)

    def person(self, how: str, task: str, to: str | None, late: int | None) -> Task:
        match how:
            case "retry":
                return self.house.retry(task, to=to)
            case "accept":
                return self.house.accept(task, attempt=late)
            case "send_back":
                return self.house.send_back(task, to="backlog" if to == ROLES[0] else None)
            case "note":
                self.house.clock.move(A_MOMENT_S)
                noted = self.house.note(task, text := f"note {len(self.ledger.notes.get(task, []))}")
                self.ledger.notes.setdefault(task, []).append(text)
                return noted
        moves = {"cancel": self.house.cancel, "reset": self.house.reset, "queue": self.house.queue}
        return moves[how](task)

    # Invariants.

    @invariant()
    def nothing_that_was_said_is_lost(self) -> None:
        for task in self.known:
            self.ledger.check(self.house.task(task))
        check_moves(self.house.events())

    @invariant()
    def no_place_is_left_empty_or_taken_twice(self) -> None:
        open_tasks = self.house.look().tasks
        check_places(open_tasks, MAX_REQUESTS)
        requests = [task.request for task in open_tasks]
        assert len(set(requests)) == len(requests), "a request has two open tasks"

    @invariant()
    def a_beat_tells_what_is_in_hand_and_every_note_on_it(self) -> None:
        room = self.house.look()
        for role in ROLES:
            held = [task for task in room.tasks if task.status in HELD_STATES and task.target_role == role]
            seat = self.house.world.leases.seats.get(seat_key(room.id, role))
            if seat is None:
                continue
            mine = [self.house.task(task.id) for task in held if task.claimed_by == seat.connection]
            assert len(mine) <= 1, "one participant holds two tasks"
            told = [note.text for task in mine for note in task.notes if note.attempt == task.attempt]
            assert [task.id for task in mine] == ([seat.task.id] if seat.task else [])
            assert told == list(seat.in_hand.notes if seat.in_hand else ()), "a heartbeat does not deliver the notes"

    @invariant()
    def a_note_is_heard_by_whoever_holds_the_task(self) -> None:
        """Each note belongs to the running attempt, or was written before the next one was claimed."""
        for told in self.known:
            task = self.house.task(told)
            for note in task.notes:
                if task.status in HELD_STATES and note.attempt != task.attempt:
                    assert note.at <= (task.acknowledged_at or ""), "neither a heartbeat nor the claim had this note"

    @invariant()
    def people_are_called_to_what_waits_for_them(self) -> None:
        house = self.house
        raised = house.store.read(lambda reader: attention.list_all(house.world, reader, house.caller))
        called = {each.key for each in raised if each.key.startswith(("quarantined:", "review:"))}
        kinds = {"quarantined": "quarantined", "pending_review": "review"}
        waiting = {f"{kinds[each.status]}:{each.id}" for each in house.look().tasks if each.status in kinds}
        assert waiting == called


TestWorkIsKept = WorkIsKept.TestCase
TestWorkIsKept.settings = settings(max_examples=60, stateful_step_count=40)
