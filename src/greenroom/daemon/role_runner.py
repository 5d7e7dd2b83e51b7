"""Runs one participant of this daemon in one role, in a thread: join, work, report how it ended, leave.

`task_runner.TaskRunner` and `resident_runner.ResidentRunner` define the work; `RoleMembership` is the membership as the
server has it. A role runner ends with its participant; the next participant of the role gets a new runner. A runner can
also adopt the participant of an earlier daemon.

The states of a membership in a role, the full table of which is `TRANSITIONS`. Heartbeats name the participant in those
with a star.

    joining ------ joined -----> running* --- report --> reporting* -- in outbox --> reported
       |                          ^    |                     ^                           |
    no answer                  joined  |                     +--------- joined ----------+
       +-------> unanswered ------+  taken over
                                       +--> yielding* -- in outbox, leave --> yielded

From joining and unanswered, `taken over` leads to yielded at once. `leave` leads to left from every state in which the
role was not taken over; the server is called only from running, reporting and unanswered.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final, TypeVar

from greenroom.client.api_client import NO_LIMIT_S, ApiClient
from greenroom.daemon.agent_reporter import AgentReporter
from greenroom.daemon.context import DaemonContext
from greenroom.daemon.harness import RunRecipe
from greenroom.daemon.run_records import RunRecord
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, Superseded, Unavailable
from greenroom.domain.participant import SUPERSEDED
from greenroom.domain.restart_policy import RestartHistory
from greenroom.wire.replies import Assignment, JoinReply, TaskRef

log = logging.getLogger("greenroom.daemon.role_runner")

ReplyT = TypeVar("ReplyT")

POLL_EVERY_S = 0.2

TAKEN_OVER = "another participant took over the role"


class MembershipState(Enum):
    """The state of a participant's membership in its role, as far as this daemon knows."""

    JOINING = "joining"
    UNANSWERED = "unanswered"
    """A join was not answered: the server may have the participant."""
    RUNNING = "running"
    REPORTING = "reporting"
    """It has ended, and the report of that is not in the outbox yet."""
    REPORTED = "reported"
    """It has ended, and the report of that ends the membership."""
    YIELDING = "yielding"
    """Another participant has the role, and the work of this one still has to end."""
    YIELDED = "yielded"
    LEFT = "left"


class MembershipEvent(Enum):
    """What happens to a membership. Heartbeats bring the first three, in any state."""

    JOINED = "joined"
    NO_ANSWER = "no answer to a join"
    TAKEN_OVER = "taken over"
    REPORT = "report"
    IN_OUTBOX = "report in the outbox"
    LEAVE = "leave"


JOINING, UNANSWERED, RUNNING, REPORTING, REPORTED, YIELDING, YIELDED, LEFT = MembershipState

# fmt: off
TRANSITIONS: Final[Mapping[MembershipState, tuple[MembershipState | None, ...]]] = {
    # state      joined     no answer   taken over  report     in outbox  leave
    JOINING:    (RUNNING,   UNANSWERED, YIELDED,    None,      None,      LEFT),
    UNANSWERED: (RUNNING,   UNANSWERED, YIELDED,    None,      None,      LEFT),
    RUNNING:    (RUNNING,   RUNNING,    YIELDING,   REPORTING, None,      LEFT),
    REPORTING:  (REPORTING, REPORTING,  REPORTING,  REPORTING, REPORTED,  LEFT),
    REPORTED:   (REPORTING, REPORTED,   REPORTED,   None,      None,      LEFT),
    YIELDING:   (YIELDING,  YIELDING,   YIELDING,   YIELDING,  YIELDED,   YIELDED),
    YIELDED:    (YIELDED,   YIELDED,    YIELDED,    None,      None,      YIELDED),
    LEFT:       (LEFT,      LEFT,       LEFT,       None,      None,      None),
}
# fmt: on
"""The next state by state and event, in the order of `MembershipEvent`; None where the event is a defect."""


class IllegalTransition(Exception):
    """An event that cannot happen in the present state: a defect of this daemon."""


class RoleRunner(ABC):
    """A thread that holds a role until it is stopped or superseded, or its work fails.

    `adopted` is the connection id of an earlier daemon's participant that this runner adopts. `on_end_safe` is called
    once the report that the participant has ended cannot be lost any more.
    """

    def __init__(
        self,
        context: DaemonContext,
        spec: Assignment,
        history: RestartHistory,
        on_end: Callable[[], None],
        adopted: str | None,
        on_end_safe: Callable[[], None] = lambda: None,
    ) -> None:
        self.spec = spec
        self.room, self.role = spec.room, spec.role
        self.connection_id = adopted or context.new_id("conn")
        self._context = context
        self._on_end = on_end
        self._membership = RoleMembership(self.room, self.role, self.connection_id, is_taken=adopted is not None)
        self._reporter = AgentReporter(context, spec, self.connection_id, history, on_end_safe)
        self._session = context.server_link.open_session()
        self._current_run: RunRecord | None = None
        self._stop_reason: str | None = None
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{spec.room_name}/{spec.role}", daemon=True)

    @property
    def has_joined(self) -> bool:
        return self._membership.has_joined

    @property
    def history(self) -> RestartHistory:
        return self._reporter.history

    def start(self) -> None:
        self._thread.start()

    def stop(self, reason: str) -> None:
        """End the work and leave. Returns at once; `on_end` is called when the runner has ended."""
        self._stop(reason, is_lost=False)

    def yield_role(self) -> None:
        """Stop, since a newer participant has the role, and do not take it back.

        Ignored for a participant that this daemon has reported as ended: the server answers `superseded` for it too.
        """
        if self._membership.apply(MembershipEvent.TAKEN_OVER) in (RUNNING, YIELDING):
            self._stop(TAKEN_OVER, is_lost=True)

    def renew_connections(self) -> None:
        """Drop the connection, which may be lost: the next call opens a new one."""
        self._session.drop()

    def rejoin(self, session: ApiClient) -> None:
        """Join again with the same connection id, after the server removed this participant; it keeps its task."""
        try:
            self._join(session)
        except Superseded:
            self.yield_role()

    @abstractmethod
    def finish(self, reason: str) -> None:
        """Finish the task in hand, if there is one, and leave. Returns at once, and may be called again."""

    @abstractmethod
    def drain(self) -> None:
        """Take no more tasks, and finish the one in hand."""

    @abstractmethod
    def compare_task(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Compare the work with `task`, which this participant holds by the heartbeat that was sent at `asked_at`.

        `asked_at` is in boot-time seconds; `notes` are all notes that users sent to that attempt.
        """

    @abstractmethod
    def _work(self) -> None:
        """Join, unless the participant was adopted, and work until the participant ends."""

    def _stop(self, reason: str, is_lost: bool) -> None:
        """Make the thread leave soon. `is_lost`: another participant has the role already."""
        self._stop_reason = self._stop_reason or reason
        self._is_stopping.set()

    # The thread.

    def _run(self) -> None:
        try:
            self._work()
        except Superseded:
            self._membership.apply(MembershipEvent.TAKEN_OVER)
        except ConfigurationError as error:
            log.warning("agent cannot run: %s: %s", self._thread.name, error)
            self._report_not_started(str(error), self._current_run)
        except GreenroomError as error:
            # The room was closed, or the agent spec changed, and this daemon has not read that yet: no failure.
            log.info("agent leaves: %s: %s", self._thread.name, error)
            self._reporter.record_hold(str(error))
        except Exception as error:
            log.exception("agent failed: %s: internal error of Greenroom", self._thread.name)
            if self.has_joined:
                detail = f"the daemon failed: {error!r}"
                self._end_participant(lambda: self._reporter.report_failure(detail, self._current_run))
        finally:
            self._leave()

    def _retry_until_answered(self, ask: Callable[[], ReplyT]) -> ReplyT | None:
        """Retry a call until the server answers, however long that takes; None when the runner was stopped before."""
        while self._stop_reason is None:
            try:
                return ask()
            except Unavailable:
                self._is_stopping.wait(self._context.retry_pause_s())
            except Conflict as error:
                # Another participant has the role, or the room was closed: the supervisor tries again later.
                self._membership.apply(MembershipEvent.TAKEN_OVER)
                self.stop(str(error))
        return None

    def _join(self, session: ApiClient) -> JoinReply:
        """Join or rejoin. Raises Superseded, and any other rejection."""
        return self._membership.join(session)

    def _check(self) -> RunRecipe:
        """Check that a run can be started and recorded, before a task is taken. Raises ConfigurationError if not."""
        recipe = self._context.resolve_recipe(self.spec)
        self._context.run_records.check_writable()
        return recipe

    # The end.

    def _report_not_started(self, detail: str, run: RunRecord | None = None) -> None:
        """Record that no process could be started, which is not a failure of the agent."""
        if self.has_joined:
            self._end_participant(lambda: self._reporter.report_not_started(detail, run))
        else:
            self._reporter.record_hold(detail)

    def _end_participant(self, tell: Callable[[], threading.Event]) -> None:
        """End the participant by a report, and wait until the server has it.

        The next participant of the role must not join before: the failure would look like a takeover. Heartbeats name
        this participant until the report is in the outbox: the first heartbeat of a daemon ends all participants that
        it does not name, without a cause.
        """
        self._membership.apply(MembershipEvent.REPORT)
        is_sent = tell()
        self._membership.apply(MembershipEvent.IN_OUTBOX)
        self._wait_until_sent(is_sent)

    def _wait_until_sent(self, is_sent: threading.Event) -> None:
        """Wait until the server has the report, or the runner is stopped."""
        while self._stop_reason is None and not is_sent.wait(POLL_EVERY_S):
            pass

    def _leave(self) -> None:
        try:
            if self._membership.leave(self._session, self._stop_reason) is YIELDED:
                self._reporter.record_yield()
        finally:
            self._session.close()
            self._on_end()


class RoleMembership:
    """The membership of one participant in a role, by its state; used by the runner's thread and by the heartbeat's.

    `is_taken`: it has joined, as far as the server answered, and has not left since.
    """

    def __init__(self, room: str, role: str, connection_id: str, is_taken: bool = False) -> None:
        self.room, self.role, self.connection_id = room, role, connection_id
        self._state = RUNNING if is_taken else JOINING
        self._lock = threading.Lock()

    @property
    def has_joined(self) -> bool:
        """Whether heartbeats name the participant."""
        return self._state in (RUNNING, REPORTING, YIELDING)

    @property
    def is_superseded(self) -> bool:
        """Whether another participant has the role."""
        return self._state in (YIELDING, YIELDED)

    def apply(self, event: MembershipEvent) -> MembershipState:
        """Go to the next state; the state before. Raises IllegalTransition where `TRANSITIONS` has none."""
        with self._lock:
            before = self._state
            after = TRANSITIONS[before][list(MembershipEvent).index(event)]
            if after is None:
                raise IllegalTransition(f"{self.room}/{self.role}: {event.value} while {before.value}")
            self._state = after
            return before

    def join(self, session: ApiClient) -> JoinReply:
        """Join if the role is vacant, or rejoin with the same connection id.

        Raises Superseded when another participant has the role, and any other rejection.
        """
        try:
            reply = session.join(self.room, self.role, self.connection_id, if_vacant=not self.has_joined)
        except Unavailable:
            self.apply(MembershipEvent.NO_ANSWER)
            raise
        if reply.status == SUPERSEDED:
            raise Superseded(TAKEN_OVER, "The daemon joins again when the role is vacant.")
        self.apply(MembershipEvent.JOINED)
        return reply

    def leave(self, session: ApiClient, reason: str | None) -> MembershipState:
        """Leave, unless the server already ended this participant; the last state: left or yielded.

        A join whose answer was lost may have been committed. No heartbeat would name that participant, and the next one
        would find the role taken until the lease expires. So leave then, too.
        """
        if self.apply(MembershipEvent.LEAVE) in (UNANSWERED, RUNNING, REPORTING):
            try:
                session.with_patience(NO_LIMIT_S).leave(self.room, self.role, self.connection_id, "stopped", reason)
            except GreenroomError as error:
                log.warning("leave failed: %s/%s: %s", self.room, self.role, error)
        return self._state
