"""A machine that disconnects and reconnects, with the agents it holds, under any order of calls and passing of time."""

from contextlib import suppress
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.domain.caller import MACHINE, THE_OPERATOR, Caller
from greenroom.domain.errors import RejoinRequired, Superseded
from greenroom.domain.task import HELD_STATES
from greenroom.service import sweeping
from greenroom.wire.replies import RoomView
from greenroom.wire.requests import Fact
from tests.service.house import House

ROLES = ("builder", "reviewer")
INCARNATIONS = ("i1", "i2", "i3")
DAEMON = Caller(scope=MACHINE, machine="m1")


class MachinesHeal(RuleBasedStateMachine):
    """One machine, three starts of its daemon, two agents that it holds, and a user who may join instead."""

    @initialize()
    def begin(self) -> None:
        self.house = House()
        self.house.room(roles=ROLES, max_requests=2)
        self.house.register("m1")
        for role in ROLES:
            self.house.wish(role, machine="m1")
        self.order: list[str] = []
        self.beaten_at: float | None = None
        self.connection = dict.fromkeys(ROLES, "c0")
        self.count = 0
        self.held: dict[str, tuple[str, str, int]] = {}
        self.seated_here: set[tuple[str, str]] = set()
        self.facts = 0

    @property
    def now(self) -> float:
        return self.house.clock.monotonic()

    @property
    def connected(self) -> bool:
        return self.beaten_at is not None

    def as_daemon(self) -> None:
        self.house.caller = DAEMON

    @rule(incarnation=st.sampled_from(INCARNATIONS), holding=st.booleans())
    def beat(self, incarnation: str, holding: bool) -> None:
        self.as_daemon()
        agents = list(self.connection.items()) if holding else []
        reply = self.house.beat_machine(*agents, incarnation=incarnation)
        if incarnation in self.order and incarnation != self.order[-1]:
            assert reply.status == "superseded", "an older incarnation took the machine back"
            return
        if incarnation not in self.order:
            self.order.append(incarnation)
        assert (reply.status, reply.daemon_connected) == ("ok", True)
        self.beaten_at = self.now
        assert self.shown_connected(), "a heartbeat did not restore daemon_connected"
        shown = {each.role: each for each in self.look().participants}
        for verdict in reply.agents:
            is_here = verdict.role in shown and shown[verdict.role].connection_id == self.connection[verdict.role]
            assert (verdict.status == "ok") == is_here, f"{verdict} but {shown}"
            if is_here:
                assert shown[verdict.role].machine == "m1"
                self.seated_here.add((verdict.role, self.connection[verdict.role]))

    @rule(role=st.sampled_from(ROLES), anew=st.booleans())
    def daemon_joins(self, role: str, anew: bool) -> None:
        self.as_daemon()
        if anew:
            self.count += 1
            self.connection[role] = f"c{self.count}"
        status = self.house.join(role, self.connection[role]).status
        self.forget_unless_connected(role, self.connection[role])
        assert status == "ok" or not anew

    @rule(role=st.sampled_from(ROLES))
    def person_joins(self, role: str) -> None:
        self.house.caller = THE_OPERATOR
        self.count += 1
        assert self.house.join(role, f"p{self.count}").status == "ok"

    @rule(role=st.sampled_from(ROLES))
    def work(self, role: str) -> None:
        self.house.caller = THE_OPERATOR
        self.house.send(to=role)
        self.as_daemon()
        try:
            task = self.house.claim(role, self.connection[role])
        except (RejoinRequired, Superseded):
            return
        if task is not None:
            self.held[role] = (self.connection[role], task.id, task.attempt)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), wished_away=st.booleans())
    def hand_in(self, data: st.DataObject, wished_away: bool) -> None:
        """The result of a run is accepted or kept, also after its role was assigned elsewhere."""
        role = data.draw(st.sampled_from(sorted(self.held)))
        connection, task, attempt = self.held[role]
        if wished_away and (role, connection) not in self.seated_here:
            return
        self.house.caller = THE_OPERATOR
        self.house.wish(role, machine=None if wished_away else "m1")
        self.as_daemon()
        with suppress(Superseded):
            self.house.complete(task, connection, attempt, said := f"{connection} did {task}")
        self.forget_unless_connected(role, connection)
        self.house.caller = THE_OPERATOR
        self.house.wish(role, machine="m1")
        kept = self.house.task(task)
        assert said in (kept.result, *(late.text for late in kept.late_results)), "a result is lost"

    def forget_unless_connected(self, role: str, connection: str) -> None:
        """While its machine is not connected, a participant has its own lease until the machine names it."""
        if not self.shown_connected():
            self.seated_here.discard((role, connection))

    @precondition(lambda self: self.held and self.order)
    @rule(data=st.data(), intended=st.booleans(), again=st.booleans())
    def exit(self, data: st.DataObject, intended: bool, again: bool) -> None:
        self.as_daemon()
        role = data.draw(st.sampled_from(sorted(self.held)))
        connection, task, attempt = self.held[role]
        before = self.house.task(task)
        was_held = before.status in HELD_STATES and (before.claimed_by, before.attempt) == (connection, attempt)
        if not again:
            self.facts += 1
        fact = Fact(
            id=f"f{self.facts}",
            kind="exited",
            room="r",
            role=role,
            connection_id=connection,
            task=task,
            attempt=attempt,
            code=None if intended else 1,
            intended=intended,
        )
        reply = self.house.report(fact, incarnation=self.order[-1])
        after = self.house.task(task)
        if reply.accepted == 0:
            assert before == after, "a repeated report changed something"
        elif was_held:
            assert after.claimed_by is None
            assert after.status in ("pending", "quarantined"), "the task of an exited process was not released"
            assert after.deaths == before.deaths + (not intended)
        else:
            assert (before.status, before.attempt, before.claimed_by) == (after.status, after.attempt, after.claimed_by)

    @rule(pause=st.sampled_from([1.0, 29.0, 61.0, 119.0, 121.5, 200.0]))
    def pass_time(self, pause: float) -> None:
        self.house.pass_time(pause)
        if self.beaten_at is not None:
            silent = self.now - self.beaten_at
            ttl, sweep = self.house.limits.daemon_heartbeat_ttl_s, self.house.limits.sweep_interval_s
            if silent < ttl:
                assert self.shown_connected(), f"disconnected {silent} s after the last heartbeat"
            if silent >= ttl + sweep:
                assert not self.shown_connected(), f"connected {silent} s after the last heartbeat"
            if not self.shown_connected():
                self.beaten_at = None

    @rule(pause=st.sampled_from([30.0, 300.0]))
    def stall(self, pause: float) -> None:
        before = self.shown_connected()
        self.house.clock.move(pause)
        sweeping.tick(self.house.world)
        assert before == self.shown_connected()
        if self.beaten_at is not None:
            self.beaten_at = self.now

    @rule()
    def restart_server(self) -> None:
        before = self.shown_connected()
        self.house.open()
        assert before == self.shown_connected(), "a restart of the server changed daemon_connected"
        if self.beaten_at is not None:
            self.beaten_at = self.now

    def look(self) -> RoomView:
        self.house.caller = THE_OPERATOR
        return self.house.look()

    def shown_connected(self) -> bool:
        self.house.caller = THE_OPERATOR
        return self.house.machine("m1").daemon_connected

    @invariant()
    def who_lasts_as_long_as_a_machine_has_a_machine_that_lasts(self) -> None:
        machine_lives = "m1" in self.house.world.leases.machines
        assert machine_lives == self.shown_connected()
        for participant in self.look().participants:
            assert participant.machine is None or machine_lives, f"no lease ever expires for {participant}"
            assert participant.ready_until is not None

    @invariant()
    def disconnection_is_told_once(self) -> None:
        kinds = ("machine.disconnected", "machine.reconnected")
        told = [event.data["daemon_connected"] for event in self.house.events() if event.type in kinds]
        for first, second in pairwise(told):
            assert first or second, "machine.disconnected was recorded twice in a row"

    @invariant()
    def every_held_task_has_a_holder_or_a_timer(self) -> None:
        room = self.look()
        present = {(each.role, each.connection_id) for each in room.participants}
        for task in room.tasks:
            if task.status in HELD_STATES and (task.target_role, task.claimed_by) not in present:
                assert task.id in self.house.world.leases.timers, f"{task.id} has neither a holder nor a timer"


TestMachinesHeal = MachinesHeal.TestCase
TestMachinesHeal.settings = settings(max_examples=60, stateful_step_count=30)
