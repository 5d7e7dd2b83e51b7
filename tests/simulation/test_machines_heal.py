"""A machine that disconnects and reconnects, with the agents it holds, under any order of calls and passing of time."""

from contextlib import suppress
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from greenroom.domain.errors import RejoinRequired, Superseded
from greenroom.domain.principal import MACHINE, OPERATOR_PRINCIPAL, Principal
from greenroom.domain.task import HELD_STATES
from greenroom.service import sweeper
from greenroom.wire.replies import RoomView
from greenroom.wire.requests import AgentReport
from tests.service.in_process_service import InProcessService

ROLES = ("builder", "reviewer")
INCARNATIONS = ("i1", "i2", "i3")
DAEMON = Principal(scope=MACHINE, machine="m1")


class MachinesHeal(RuleBasedStateMachine):
    """One machine, three starts of its daemon, two agents that it holds, and a user who may join instead."""

    @initialize()
    def begin(self) -> None:
        self.server = InProcessService()
        self.server.create_room(roles=ROLES, max_requests=2)
        self.server.register_machine("m1")
        for role in ROLES:
            self.server.set_agent_spec(role, machine="m1")
        self.order: list[str] = []
        self.last_beat_at: float | None = None
        self.connection = dict.fromkeys(ROLES, "c0")
        self.count = 0
        self.held: dict[str, tuple[str, str, int]] = {}
        self.on_machine_lease: set[tuple[str, str]] = set()
        self.report_count = 0

    @property
    def now(self) -> float:
        return self.server.clock.monotonic()

    @property
    def connected(self) -> bool:
        return self.last_beat_at is not None

    def as_daemon(self) -> None:
        self.server.principal = DAEMON

    @rule(incarnation=st.sampled_from(INCARNATIONS), holding=st.booleans())
    def beat(self, incarnation: str, holding: bool) -> None:
        self.as_daemon()
        agents = list(self.connection.items()) if holding else []
        reply = self.server.beat_machine(*agents, incarnation=incarnation)
        if incarnation in self.order and incarnation != self.order[-1]:
            assert reply.status == "superseded", "an older incarnation took the machine back"
            return
        if incarnation not in self.order:
            self.order.append(incarnation)
        assert (reply.status, reply.daemon_connected) == ("ok", True)
        self.last_beat_at = self.now
        assert self.is_connected(), "a heartbeat did not restore daemon_connected"
        shown = {participant.role: participant for participant in self.view().participants}
        for verdict in reply.agents:
            is_here = verdict.role in shown and shown[verdict.role].connection_id == self.connection[verdict.role]
            assert (verdict.status == "ok") == is_here, f"{verdict} but {shown}"
            if is_here:
                assert shown[verdict.role].machine == "m1"
                self.on_machine_lease.add((verdict.role, self.connection[verdict.role]))

    @rule(role=st.sampled_from(ROLES), is_new=st.booleans())
    def daemon_joins(self, role: str, is_new: bool) -> None:
        self.as_daemon()
        if is_new:
            self.count += 1
            self.connection[role] = f"c{self.count}"
        status = self.server.join(role, self.connection[role]).status
        self.forget_unless_connected(role, self.connection[role])
        assert status == "ok" or not is_new

    @rule(role=st.sampled_from(ROLES))
    def replace_by_user(self, role: str) -> None:
        self.server.principal = OPERATOR_PRINCIPAL
        self.count += 1
        assert self.server.join(role, f"p{self.count}").status == "ok"

    @rule(role=st.sampled_from(ROLES))
    def work(self, role: str) -> None:
        self.server.principal = OPERATOR_PRINCIPAL
        self.server.send_message(to=role)
        self.as_daemon()
        try:
            task = self.server.claim(role, self.connection[role])
        except (RejoinRequired, Superseded):
            return
        if task is not None:
            self.held[role] = (self.connection[role], task.id, task.attempt)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), is_reassigned=st.booleans())
    def finish_task(self, data: st.DataObject, is_reassigned: bool) -> None:
        """The result of a run is accepted or kept, also after its role was assigned elsewhere."""
        role = data.draw(st.sampled_from(sorted(self.held)))
        connection, task, attempt = self.held[role]
        if is_reassigned and (role, connection) not in self.on_machine_lease:
            return
        self.server.principal = OPERATOR_PRINCIPAL
        self.server.set_agent_spec(role, machine=None if is_reassigned else "m1")
        self.as_daemon()
        with suppress(Superseded):
            self.server.complete(task, connection, attempt, result_text := f"{connection} did {task}")
        self.forget_unless_connected(role, connection)
        self.server.principal = OPERATOR_PRINCIPAL
        self.server.set_agent_spec(role, machine="m1")
        kept = self.server.show_task(task)
        assert result_text in (kept.result, *(late.text for late in kept.late_results)), "a result is lost"

    def forget_unless_connected(self, role: str, connection: str) -> None:
        """While its machine is not connected, a participant has its own lease until the machine names it."""
        if not self.is_connected():
            self.on_machine_lease.discard((role, connection))

    @precondition(lambda self: self.held and self.order)
    @rule(data=st.data(), intended=st.booleans(), is_repeated=st.booleans())
    def report_exit(self, data: st.DataObject, intended: bool, is_repeated: bool) -> None:
        self.as_daemon()
        role = data.draw(st.sampled_from(sorted(self.held)))
        connection, task, attempt = self.held[role]
        before = self.server.show_task(task)
        was_held = before.status in HELD_STATES and (before.claimed_by, before.attempt) == (connection, attempt)
        if not is_repeated:
            self.report_count += 1
        report = AgentReport(
            id=f"f{self.report_count}",
            kind="exited",
            room="r",
            role=role,
            connection_id=connection,
            task=task,
            attempt=attempt,
            code=None if intended else 1,
            intended=intended,
        )
        reply = self.server.send_reports(report, incarnation=self.order[-1])
        after = self.server.show_task(task)
        if reply.accepted == 0:
            assert before == after, "a repeated report changed something"
        elif was_held:
            assert after.claimed_by is None
            assert after.status in ("pending", "quarantined"), "the task of an exited process was not released"
            assert after.failures == before.failures + (not intended)
        else:
            assert (before.status, before.attempt, before.claimed_by) == (after.status, after.attempt, after.claimed_by)

    @rule(pause=st.sampled_from([1.0, 29.0, 61.0, 119.0, 121.5, 200.0]))
    def pass_time(self, pause: float) -> None:
        self.server.pass_time(pause)
        if self.last_beat_at is not None:
            silent = self.now - self.last_beat_at
            ttl, sweep = self.server.limits.daemon_heartbeat_ttl_s, self.server.limits.sweep_interval_s
            if silent < ttl:
                assert self.is_connected(), f"disconnected {silent} s after the last heartbeat"
            if silent >= ttl + sweep:
                assert not self.is_connected(), f"connected {silent} s after the last heartbeat"
            if not self.is_connected():
                self.last_beat_at = None

    @rule(pause=st.sampled_from([30.0, 300.0]))
    def stall(self, pause: float) -> None:
        before = self.is_connected()
        self.server.clock.advance(pause)
        sweeper.tick(self.server.context)
        assert before == self.is_connected()
        if self.last_beat_at is not None:
            self.last_beat_at = self.now

    @rule()
    def restart_server(self) -> None:
        before = self.is_connected()
        self.server.restart_server()
        assert before == self.is_connected(), "a restart of the server changed daemon_connected"
        if self.last_beat_at is not None:
            self.last_beat_at = self.now

    def view(self) -> RoomView:
        self.server.principal = OPERATOR_PRINCIPAL
        return self.server.show_room()

    def is_connected(self) -> bool:
        self.server.principal = OPERATOR_PRINCIPAL
        return self.server.show_machine("m1").daemon_connected

    @invariant()
    def machine_participants_have_machine_lease(self) -> None:
        has_machine_lease = "m1" in self.server.context.leases.machines
        assert has_machine_lease == self.is_connected()
        for participant in self.view().participants:
            assert participant.machine is None or has_machine_lease, f"no lease ever expires for {participant}"
            assert participant.ready_until is not None

    @invariant()
    def disconnection_is_recorded_once(self) -> None:
        kinds = ("machine.disconnected", "machine.reconnected")
        recorded = [event.data["daemon_connected"] for event in self.server.events() if event.type in kinds]
        for first, second in pairwise(recorded):
            assert first or second, "machine.disconnected was recorded twice in a row"

    @invariant()
    def held_tasks_have_holder_or_timer(self) -> None:
        room = self.view()
        present = {(participant.role, participant.connection_id) for participant in room.participants}
        for task in room.tasks:
            if task.status in HELD_STATES and (task.target_role, task.claimed_by) not in present:
                assert task.id in self.server.context.leases.timers, f"{task.id} has neither a holder nor a timer"


TestMachinesHeal = MachinesHeal.TestCase
TestMachinesHeal.settings = settings(max_examples=60, stateful_step_count=30)
