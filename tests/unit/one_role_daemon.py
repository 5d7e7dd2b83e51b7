"""Runs one role runner of a daemon between a fake server and real processes."""

import threading
from collections.abc import Callable
from pathlib import Path

from greenroom.client.api_client import ApiClient
from greenroom.clock import Clock, SystemClock
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.harness import HarnessPolicy
from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.outbox_sender import OutboxSender
from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.role_runner import RoleRunner
from greenroom.daemon.run_logs import RunLogs
from greenroom.daemon.run_records import RunRecord, RunRecords
from greenroom.daemon.server_link import ServerLink
from greenroom.daemon.task_runner import TaskRunner
from greenroom.domain.limits import Limits
from greenroom.domain.restart_policy import RestartHistory
from greenroom.entropy import SystemEntropy
from greenroom.settings.harness import Harness
from greenroom.wire.replies import Assignment
from greenroom.wire.requests import AgentReport, PutMachine
from tests.unit.fake_server import FakeServer, FakeServerTransport
from tests.waiting import PATIENCE_S, NotYet, wait_until

LIMITS = Limits(retry_pause_s=0.01, stop_grace_s=PATIENCE_S, takeover_grace_s=PATIENCE_S)
ENVIRON = {"PATH": "/usr/bin:/bin", "GREENROOM_TOKEN": "of the operator", "SECRET": "s"}
SPEC = Assignment(
    room="room_1",
    room_name="r",
    role="builder",
    roles=("builder", "reviewer"),
    desired="running",
    generation=3,
    harness="sh",
    model=None,
    workdir=None,
)


class FakeServerLink(ServerLink):
    """A server link whose sessions lead to the fake server."""

    def __init__(self, server: FakeServer) -> None:
        introduction = PutMachine(name="m1", harnesses=[])
        machine = MachineIdentity(id="m1", name="m1")
        super().__init__("http://127.0.0.1:1", lambda: None, machine, lambda: introduction, LIMITS)
        self._server = server
        self.transports: list[FakeServerTransport] = []

    def open_session(self) -> ApiClient:
        self.transports.append(FakeServerTransport(self._server))
        return ApiClient(self.url, None, LIMITS, self.transports[-1])


class OneRoleDaemon:
    """One role runner, with a fake server in front of it and real processes behind it."""

    def __init__(
        self,
        tmp_path: Path,
        server: FakeServer,
        script: str,
        spec: Assignment = SPEC,
        environ: dict[str, str] = ENVIRON,
        history: RestartHistory | None = None,
        adopted: RunRecord | None = None,
        accepts_reports: bool = True,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.server = server
        self.reports: list[AgentReport] = []
        self.queued: list[tuple[str, bool]] = []
        self.ended = threading.Event()
        self.beat_requested = threading.Event()
        entropy = SystemEntropy()  # runs are found by their ids, which must differ from those of another test process
        self.outbox = outbox = RecordingOutbox(self, tmp_path / "outbox", LIMITS.reports_waiting_max)
        self.accepts_reports = threading.Event()
        if accepts_reports:
            self.accepts_reports.set()
        OutboxSender(outbox, self.post, LIMITS, clock, entropy, lambda: None, lambda: None).start()
        self.records = RunRecords(tmp_path / "runs")
        self.logs = tmp_path / "logs"
        harness = Harness(command=("sh", "-c", script), env={"OWN": "own"})
        self.link = FakeServerLink(server)
        context = DaemonContext(
            server_link=self.link,
            harness_policy=HarnessPolicy({"sh": harness}, (), tmp_path / "work"),
            outbox=outbox,
            run_records=self.records,
            run_logs=RunLogs(self.logs, 5, 1024 * 1024, self.records.folders_in_use),
            restart_states=RestartStates(tmp_path / "restart_state.json", "boot", clock, LIMITS),
            clock=clock,
            entropy=entropy,
            limits=LIMITS,
            environ=environ,
            is_connected=lambda: True,
            beat_now=self.beat_requested.set,
        )
        history = history or RestartHistory(generation=spec.generation)
        self.runner = self.make_runner(context, spec, history, adopted)
        self.runner.start()

    def make_runner(
        self, context: DaemonContext, spec: Assignment, history: RestartHistory, adopted: RunRecord | None
    ) -> RoleRunner:
        return TaskRunner(context, spec, history, self.ended.set, adopted)

    def post(self, reports: list[AgentReport]) -> None:
        assert self.accepts_reports.wait(PATIENCE_S)
        self.reports.extend(reports)

    def kinds(self) -> list[str]:
        return [report.kind for report in self.reports]

    def report_fields(self) -> list[tuple[str, bool | None, int | None, int | None]]:
        return [(report.kind, report.intended, report.code, report.signal) for report in self.reports]

    def wait_for_reports(self, count: int) -> list[AgentReport]:
        def look() -> list[AgentReport]:
            if len(self.reports) < count:
                raise NotYet(self.reports)
            return self.reports

        return wait_until(look, f"{count} reports arrive")

    def stop(self, reason: str = "desired state is stopped") -> None:
        """Stop the role runner, and wait until every report is sent that can be sent."""
        self.runner.stop(reason)
        assert self.ended.wait(PATIENCE_S), "the role runner did not end"
        if self.accepts_reports.is_set():
            assert self.outbox.wait(lambda count: count == 0, PATIENCE_S) == 0, "not every report was sent"


class RecordingOutbox(Outbox):
    """Records for each report whether the heartbeats still named the participant at that moment."""

    def __init__(self, daemon: OneRoleDaemon, folder: Path, waiting_max: int) -> None:
        super().__init__(folder, waiting_max)
        self._daemon = daemon

    def add(self, *reports: AgentReport, on_safe: Callable[[], None] = lambda: None) -> threading.Event:
        self._daemon.queued += [(report.kind, self._daemon.runner.has_joined) for report in reports]
        return super().add(*reports, on_safe=on_safe)
