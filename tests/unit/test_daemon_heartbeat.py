import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from greenroom.client.api_client import ApiClient
from greenroom.daemon.heartbeat import MachineHeartbeats
from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.outbox_sender import OutboxSender
from greenroom.daemon.server_link import ServerLink
from greenroom.daemon.spec_watch import SpecWatch
from greenroom.domain.errors import NotFound, Refused, RejoinRequired, Unavailable
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.testing import MovedClock, SeededEntropy
from greenroom.wire.replies import AgentVerdict, Assignments, MachineHeartbeatReply, TaskRef
from greenroom.wire.requests import AgentReport, MachineHeartbeat, PutMachine, ReportBatch


@dataclass
class RecordingRunner:
    """A role runner that records its calls."""

    role: str
    room: str = "room_1"
    connection_id: str = "conn_1"
    calls: list[Any] = field(default_factory=list)

    def rejoin(self, session: ApiClient) -> None:
        self.calls.append("join again")

    def compare_task(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        self.calls.append((task, asked_at))

    def drain(self) -> None:
        self.calls.append("drain")

    def yield_role(self) -> None:
        self.calls.append("yield")


class FakeSession(ApiClient):
    """A session with prepared answers."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", None, DEFAULT_LIMITS)
        self.errors: list[Exception] = []
        self.report_errors: list[Exception] = []
        self.calls: list[str] = []
        self.reports: list[AgentReport] = []
        self.bodies: list[MachineHeartbeat] = []
        self.assignment_answers: list[Assignments] = []
        self.requested_after: list[int | None] = []

    def machine_beat(self, machine: str, body: MachineHeartbeat) -> MachineHeartbeatReply:
        self.calls.append("beat")
        if self.errors:
            raise self.errors.pop(0)
        self.bodies.append(body)
        return MachineHeartbeatReply(status="ok", daemon_connected=True, next_in_s=1.0, assignments_version=4)

    def post_reports(self, machine: str, body: ReportBatch) -> Any:
        self.calls.append("reports")
        if self.report_errors:
            raise self.report_errors.pop(0)
        self.reports += body.reports

    def assignments(self, machine: str, after: int | None = None, wait_s: float = 0.0) -> Assignments:
        self.requested_after.append(after)
        if self.errors:
            raise self.errors.pop(0)
        return self.assignment_answers.pop(0)


class StubServerLink(ServerLink):
    """A server link on which registering always succeeds and is recorded."""

    def __init__(self) -> None:
        introduction = PutMachine(name="m1", harnesses=[])
        machine = MachineIdentity(id="m1", name="m1")
        super().__init__("http://127.0.0.1:1", lambda: None, machine, lambda: introduction, DEFAULT_LIMITS)
        self.session = FakeSession()

    def register(self) -> ApiClient:
        self.session.calls.append("register")
        return self.session


def make_beat_with_outbox(
    tmp_path: Path, *runners: RecordingRunner
) -> tuple[MachineHeartbeats, FakeSession, list[int]]:
    outbox = Outbox(tmp_path / "outbox", 10)
    outbox.add(AgentReport(id="exit:task_1.1.conn_0", kind="exited", room="r", role="builder", connection_id="conn_0"))
    return make_beat(outbox, *runners)


def make_beat(outbox: Outbox, *runners: RecordingRunner) -> tuple[MachineHeartbeats, FakeSession, list[int]]:
    sender = OutboxSender(
        outbox, lambda reports: None, DEFAULT_LIMITS, MovedClock(), SeededEntropy(1), lambda: None, lambda: None
    )
    link, versions = StubServerLink(), list[int]()
    beat = MachineHeartbeats(link, "inc_1", lambda: runners, versions.append, sender.send_all)
    return beat, link.session, versions


def make_reply(*agents: AgentVerdict) -> MachineHeartbeatReply:
    return MachineHeartbeatReply(
        status="ok", daemon_connected=True, next_in_s=1.0, assignments_version=4, agents=agents
    )


def test_outbox_is_sent_once_before_first_beat(tmp_path: Path) -> None:
    beat, session, _ = make_beat_with_outbox(tmp_path)
    beat.register_and_beat()
    beat.beat(0.0)
    beat.register_and_beat()
    assert session.calls == ["register", "reports", "beat", "beat", "register", "beat"]


def test_unsent_reports_delay_first_beat(tmp_path: Path) -> None:
    beat, session, _ = make_beat_with_outbox(tmp_path)
    session.report_errors.append(Unavailable("d", "g"))
    with pytest.raises(Unavailable):
        beat.register_and_beat()
    assert "beat" not in session.calls  # its inventory would contradict reports that are not sent yet
    beat.register_and_beat()
    assert session.calls[-2:] == ["reports", "beat"]


def test_agents_are_listed_after_reports_are_sent(tmp_path: Path) -> None:
    calls: list[str] = []
    runners = [RecordingRunner("builder")]

    def send_all(post: object) -> None:
        calls.append("reports")
        runners.clear()  # its exit is reported at this moment, too late for this delivery

    link = StubServerLink()
    MachineHeartbeats(link, "inc_1", lambda: list(runners), lambda version: None, send_all).register_and_beat()
    assert calls == ["reports"]
    assert [agent.role for agent in link.session.bodies[0].agents] == ["builder"]


def test_beat_names_every_agent(tmp_path: Path) -> None:
    beat, session, _ = make_beat_with_outbox(
        tmp_path, RecordingRunner("builder"), RecordingRunner("reviewer", connection_id="conn_2")
    )
    beat.register_and_beat()
    beat.beat(2.5)
    assert [(agent.role, agent.connection_id) for agent in session.bodies[1].agents] == [
        ("builder", "conn_1"),
        ("reviewer", "conn_2"),
    ]
    assert (session.bodies[1].incarnation, session.bodies[1].slept_s) == ("inc_1", 2.5)


@pytest.mark.parametrize(
    "error", [NotFound("d", "g"), Refused("d", "g")], ids=["response to an operator", "response to a machine"]
)
def test_unknown_machine_registers_again(tmp_path: Path, error: Exception) -> None:
    beat, session, _ = make_beat_with_outbox(tmp_path)
    beat.register_and_beat()
    session.errors.append(error)
    with pytest.raises(RejoinRequired):
        beat.beat(0.0)


def test_first_refusal_raises_later_ones_retry(tmp_path: Path) -> None:
    beat, session, _ = make_beat_with_outbox(tmp_path)
    session.errors.append(Refused("d", "g"))
    with pytest.raises(Refused):
        beat.register_and_beat()
    beat.register_and_beat()
    session.errors.append(Refused("d", "g"))
    with pytest.raises(Unavailable):
        beat.register_and_beat()


def test_verdicts_reach_their_role_runners(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runners = {name: RecordingRunner(name) for name in ("well", "gone", "taken", "leaving", "lost")}
    beat, _, versions = make_beat_with_outbox(tmp_path, *runners.values())
    beat.register_and_beat()
    task = TaskRef("task_1", 1)
    verdicts = {"well": "ok", "gone": "rejoin_required", "taken": "superseded", "leaving": "drain", "stranger": "ok"}
    agents = [AgentVerdict(room="room_1", role=role, status=verdict, task=task) for role, verdict in verdicts.items()]
    agents.append(AgentVerdict(room="room_1", role="lost", status="rejoin_required"))
    beat.apply_verdicts(make_reply(*agents), 7.0)
    assert {name: runner.calls for name, runner in runners.items()} == {
        "well": [(task, 7.0)],
        "gone": ["join again"],
        "taken": ["yield"],
        "leaving": ["drain", (task, 7.0)],
        "lost": ["join again"],
    }
    assert versions == [4]
    assert [record.levelname for record in caplog.records if "agents rejoined: " in record.message] == ["WARNING"]


def test_verdict_for_earlier_participant_is_ignored(tmp_path: Path) -> None:
    runner = RecordingRunner("builder")
    beat, _, _ = make_beat_with_outbox(tmp_path, runner)
    beat.register_and_beat()
    runner.connection_id = "conn_2"  # the participant that was named has ended, and the next one has joined
    for status in ("superseded", "drain", "ok", "rejoin_required"):
        beat.apply_verdicts(make_reply(AgentVerdict(room="room_1", role="builder", status=status)), 7.0)
    assert runner.calls == []


def test_outage_during_rejoins_ends_them(tmp_path: Path) -> None:
    roles: list[str] = []

    class UnreachableRunner(RecordingRunner):
        def rejoin(self, session: ApiClient) -> None:
            roles.append(self.role)
            raise Unavailable("d", "g")

    runners = [UnreachableRunner(f"role-{number}") for number in range(50)]
    beat, _, _ = make_beat_with_outbox(tmp_path, *runners)
    beat.register_and_beat()
    beat.apply_verdicts(
        make_reply(*[AgentVerdict(room="room_1", role=runner.role, status="rejoin_required") for runner in runners]),
        7.0,
    )
    assert roles == ["role-0"]


class ManualSpecWatch:
    """A watch of agent specs whose requests the test triggers itself."""

    def __init__(self, *answers: Assignments) -> None:
        self.link = StubServerLink()
        self.link.session.assignment_answers = list(answers)
        self.received: list[Assignments] = []
        self.rejected = threading.Event()
        self.watch = SpecWatch(
            lambda: self.link.session,
            "m1",
            DEFAULT_LIMITS,
            MovedClock(),
            SeededEntropy(1),
            self.received.append,
            self.rejected.set,
            lambda: None,
        )


def make_assignments(version: int) -> Assignments:
    return Assignments(version=version, assignments=())


def test_assignments_are_applied_only_when_newer() -> None:
    watch = ManualSpecWatch(make_assignments(4), make_assignments(4), make_assignments(5))
    for _ in range(3):
        watch.watch.poll()
    assert watch.link.session.requested_after == [None, 4, 4]
    assert [assignments.version for assignments in watch.received] == [4, 5]


def test_changed_assignments_version_is_read_at_once() -> None:
    watch = ManualSpecWatch(make_assignments(9), make_assignments(2))
    watch.watch.poll()
    watch.watch.notice_version(9)
    assert watch.watch._version == 9
    watch.watch.notice_version(2)
    watch.watch.poll()
    assert watch.link.session.requested_after == [None, None]
    assert [assignments.version for assignments in watch.received] == [9, 2]


def test_assignments_retry_and_refusal() -> None:
    watch = ManualSpecWatch(make_assignments(1))
    watch.link.session.errors = [Unavailable("d", "g", "unreachable"), Refused("d", "g")]
    assert 0 < watch.watch.poll() <= DEFAULT_LIMITS.retry_pause_s
    assert not watch.rejected.is_set()
    assert 0 < watch.watch.poll() <= DEFAULT_LIMITS.retry_pause_s
    assert watch.rejected.is_set()
    assert watch.watch.poll() == 0.0
    assert [assignments.version for assignments in watch.received] == [1]
