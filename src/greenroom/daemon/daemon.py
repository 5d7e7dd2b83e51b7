"""One daemon: creates its parts, connects them, starts and stops them."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from greenroom.client.heartbeat import Heartbeat, HeartbeatNotice
from greenroom.clock import Clock
from greenroom.daemon import adoption
from greenroom.daemon.agent_reporter import participant_report_id
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.harness import HarnessPolicy
from greenroom.daemon.heartbeat import MachineHeartbeats
from greenroom.daemon.machine_identity import MachineIdentity, record_registered
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.outbox_sender import OutboxSender
from greenroom.daemon.resident_runner import ResidentRunner
from greenroom.daemon.restart_state import RestartStates
from greenroom.daemon.role_runner import RoleRunner
from greenroom.daemon.run_logs import RunLogs
from greenroom.daemon.run_records import Resident, ResidentRecords, RunRecord, RunRecords
from greenroom.daemon.server_link import MachineRegistration, ServerLink
from greenroom.daemon.spec_watch import SpecWatch
from greenroom.daemon.supervisor import Supervisor
from greenroom.daemon.task_runner import TaskRunner
from greenroom.domain import heartbeat_policy, restart_policy
from greenroom.domain.errors import GreenroomError
from greenroom.domain.heartbeat_policy import daemon_heartbeat_policy
from greenroom.domain.ids import ID_BYTES, format_id
from greenroom.domain.restart_policy import RestartHistory
from greenroom.entropy import Entropy
from greenroom.exit_codes import ExitCode
from greenroom.process.exit_signals import Shutdown
from greenroom.process.identity import boot_id
from greenroom.settings import paths
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import Assignment, Assignments, MachineHeartbeatReply
from greenroom.wire.requests import AgentReport, ReportBatch

log = logging.getLogger("greenroom.daemon.daemon")

FINAL_REPORTS_S_MAX = 2.0
"""Seconds for which a stopping daemon tries to send its last reports; the outbox keeps the reports that are left."""
STOP_MARGIN_S = 15.0
"""Seconds, on top of the grace of a run (`stop_grace_s`), in which all agents must have ended and left."""


class Daemon:
    """The daemon of one machine: sends heartbeats, follows the assignments, runs the agents and sends reports.

    `error` is the error that ended the heartbeat for good, such as an unknown token at the first contact.
    """

    def __init__(
        self,
        settings: Settings,
        machine: MachineIdentity,
        read_token: Callable[[], str | None],
        environ: Mapping[str, str],
        clock: Clock,
        entropy: Entropy,
        shutdown: Shutdown,
    ) -> None:
        limits = settings.limits
        self.error: GreenroomError | None = None
        self._limits = limits
        self._machine = machine
        self._machine_path = paths.machine(settings.data_dir)
        self._shutdown = shutdown
        self._incarnation = format_id("inc", entropy.random_bytes(ID_BYTES))
        self._has_started_parts = False
        policy = HarnessPolicy(settings.harnesses(), settings.allowed_dirs(), paths.work(settings.data_dir))
        introduce = MachineRegistration(machine, policy, settings.labels(), environ)
        self._server_link = ServerLink(settings.url, read_token, machine, introduce, limits)
        outbox = Outbox(paths.outbox(settings.data_dir), limits.reports_waiting_max)
        self._outbox_sender = OutboxSender(
            outbox,
            self._post_reports,
            limits,
            clock,
            entropy,
            self._beat_now,
            partial(self._stop_on_failure, "the outbox sender"),
        )
        self._report_session = self._server_link.open_session()
        records = RunRecords(paths.runs(settings.data_dir))
        restart_states = RestartStates(paths.restart_state(settings.data_dir), boot_id(), clock, limits)
        self._context = DaemonContext(
            server_link=self._server_link,
            harness_policy=policy,
            outbox=outbox,
            run_records=records,
            run_logs=RunLogs(
                paths.logs(settings.data_dir), limits.run_logs_kept, limits.run_logs_bytes_max, records.folders_in_use
            ),
            restart_states=restart_states,
            clock=clock,
            entropy=entropy,
            limits=limits,
            environ=environ,
            is_connected=lambda: self._heartbeat.is_present(),
            beat_now=self._beat_now,
            must_spread_retries=lambda: self._heartbeat.spread_retries(),
        )
        self._residents = ResidentRecords(paths.residents(settings.data_dir))
        self._supervisor: Supervisor[RoleRunner] = Supervisor(
            self._make_role_runner, restart_states, clock, partial(self._stop_on_failure, "the supervisor")
        )
        self._spec_watch = self._make_watch(clock, entropy)
        self._beat = MachineHeartbeats(
            self._server_link,
            self._incarnation,
            self._list_present,
            self._spec_watch.notice_version,
            self._outbox_sender.send_all,
        )
        self._heartbeat = self._make_heartbeat(clock, entropy)

    def start(self) -> None:
        """Adopt the runs of an earlier daemon, then start the heartbeat. The other parts start with the first ok."""
        self._adopt()
        self._heartbeat.start()

    def stop(self, reason: str) -> None:
        """Stop every agent, send the reports that are left, and end the heartbeat."""
        if self._has_started_parts:
            self._spec_watch.stop()
        if not self._supervisor.stop(reason, self._limits.stop_grace_s + STOP_MARGIN_S):
            log.warning("shutdown incomplete: agents: not all of them left in time; the server expires their leases")
        unsent = self._outbox_sender.close(FINAL_REPORTS_S_MAX if self._has_started_parts else 0.0)
        if unsent:
            log.warning("reports not sent: %d kept in the outbox: the next start of the daemon sends them", unsent)
        self._heartbeat.stop(FINAL_REPORTS_S_MAX)
        if self._has_started_parts:
            self._beat.send_leave()

    def _make_watch(self, clock: Clock, entropy: Entropy) -> SpecWatch:
        return SpecWatch(
            self._server_link.open_session,
            self._machine.id,
            self._limits,
            clock,
            entropy,
            self._apply_assignments,
            self._beat_now,
            partial(self._stop_on_failure, "the assignments watch"),
            lambda: self._heartbeat.spread_retries(),
        )

    def _make_heartbeat(self, clock: Clock, entropy: Entropy) -> Heartbeat:
        return Heartbeat(
            daemon_heartbeat_policy(self._limits),
            self._beat.beat,
            self._beat.register_and_beat,
            self._handle_notice,
            clock,
            entropy,
            self._apply_answer,
            self._limits.wait_step_s,
            log=log,
        )

    def _adopt(self) -> None:
        """Adopt the runs of an earlier daemon, before the first heartbeat, which names their participants."""
        context = self._context
        runs = adoption.adopt_runs(context.run_records, context.outbox, context.clock)
        runners: list[RoleRunner] = [self._task_runner_of(run) for run in runs]
        residents = self._residents.adopt(
            {(run.room, run.role) for run in runs},
            lambda runner: context.outbox.holds(participant_report_id("exit", runner)),
        )
        runners += [self._resident_runner_of(resident) for resident in residents]
        for runner in runners:
            self._supervisor.adopt(runner)
        for runner in runners:
            runner.start()

    def _start_parts(self) -> None:
        """Start the other parts: the machine is registered, and the reports of an earlier daemon are sent."""
        self._has_started_parts = True
        if self._machine.is_new:
            with suppress(OSError):  # the disk is full; the next start writes it
                record_registered(self._machine_path, self._machine)
        self._outbox_sender.start()
        self._supervisor.start()
        self._spec_watch.start()
        log.info("machine connected: %s: registered with %s", self._machine.id, self._server_link.url)

    def _list_present(self) -> list[RoleRunner]:
        return [runner for runner in self._supervisor.runners() if runner.has_joined]

    def _make_role_runner(self, spec: Assignment, history: RestartHistory, on_end: Callable[[], None]) -> RoleRunner:
        if self._context.harness_policy.names_resident(spec):
            return ResidentRunner(self._context, self._residents, spec, history, on_end)
        return TaskRunner(self._context, spec, history, on_end)

    def _task_runner_of(self, run: RunRecord) -> TaskRunner:
        assert run.spec is not None
        return TaskRunner(self._context, run.spec, *self._adopted_history(run.spec), run)

    def _resident_runner_of(self, resident: Resident) -> ResidentRunner:
        spec = resident.spec
        return ResidentRunner(self._context, self._residents, spec, *self._adopted_history(spec), resident)

    def _adopted_history(self, spec: Assignment) -> tuple[RestartHistory, Callable[[], None]]:
        """The history of an adopted agent, and what its role runner has to call when it has ended."""
        history = restart_policy.history_of_generation(
            self._context.restart_states.get(spec.room, spec.role), spec.generation
        )
        return history, partial(self._supervisor.remove_ended, spec.room, spec.role)

    def _apply_assignments(self, assignments: Assignments) -> None:
        """Pass the assignments to the supervisor, and beat at once: a change may mean that a role was taken over."""
        self._supervisor.replace_assignments(assignments)
        self._beat_now()

    def _beat_now(self) -> None:
        self._heartbeat.beat_now()

    def _apply_answer(self, reply: MachineHeartbeatReply, asked_at: float) -> None:
        if not self._has_started_parts:
            self._start_parts()
        self._beat.apply_verdicts(reply, asked_at)

    def _handle_notice(self, notice: HeartbeatNotice) -> None:
        if notice.kind == heartbeat_policy.RENEW_CLAIM:
            for runner in self._supervisor.runners():
                runner.renew_connections()
            self._spec_watch.renew_connection()
        elif notice.kind == heartbeat_policy.NOTICE_REJOINED:
            log.warning(
                "machine registered again: %s: the server had removed it; last ok heartbeat %.0f s ago",
                self._machine.id,
                notice.silent_s,
            )
        elif notice.kind == heartbeat_policy.NOTICE_UNREACHABLE:
            log.warning(
                "server unreachable, retrying: %s: no answer for %.0f s", self._server_link.url, notice.silent_s
            )
        elif notice.kind == heartbeat_policy.NOTICE_REACHABLE:
            log.info("server reachable again: %s: it answered a heartbeat", self._server_link.url)
        elif notice.kind == heartbeat_policy.STOP_SUPERSEDED:
            log.error(
                "daemon superseded: machine %s: a newer daemon runs as this machine, so this one stops;"
                " if this is a copy of that machine, remove %s, and it registers as a new machine",
                self._machine.id,
                self._machine_path,
            )
            self._shutdown.request(ExitCode.CONFLICT)
        elif notice.kind == heartbeat_policy.STOP_REFUSED:
            self.error = self._heartbeat.last_error
            self._shutdown.request(ExitCode.FAILED)

    def _post_reports(self, reports: list[AgentReport]) -> None:
        self._report_session.post_reports(self._machine.id, ReportBatch(incarnation=self._incarnation, reports=reports))

    def _stop_on_failure(self, part: str) -> None:
        log.critical("daemon stopping: %s: its loop failed", part)
        self._shutdown.request(ExitCode.FAILED)
