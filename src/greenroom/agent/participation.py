"""One agent that sends its own heartbeats: it joins, stays present, claims tasks and leaves.

The heartbeat thread keeps the agent present; the main thread waits in the claim. When presence may be lost, the
heartbeat renews the claim; when a claim is answered `rejoin_required`, it makes the heartbeat beat at once.

Options: `heartbeat_interval_s`, `heartbeat_ttl_s`, `takeover_grace_s`, `first_contact_s` and `wait_step_s`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

from greenroom.agent.interrupts import SIGNALS
from greenroom.client.api_client import ApiClient, Cause
from greenroom.client.claim_loop import ClaimLoop
from greenroom.client.heartbeat import Heartbeat, HeartbeatNotice
from greenroom.clock import Clock
from greenroom.domain import heartbeat_policy as words
from greenroom.domain.errors import Conflict, GreenroomError, Superseded, Unavailable
from greenroom.domain.heartbeat_policy import agent_heartbeat_policy
from greenroom.domain.ids import format_id
from greenroom.entropy import Entropy
from greenroom.wire.replies import ClaimedTask, HeartbeatReply, JoinReply

DRAINED = "drained"
STOP_S_MAX = 1.0
"""How long to wait for the heartbeat thread: it may be opening a connection, which cannot be interrupted."""


class Participation:
    """One agent's participation in a role.

    `connect` returns a session of its own for each thread; `say` prints to standard error. `on_beat` is called on the
    heartbeat thread with each answer and the boot-time second at which its beat was sent.
    """

    def __init__(
        self,
        connect: Callable[[], ApiClient],
        room: str,
        role: str,
        connection_id: str,
        say: Callable[[str], None],
        clock: Clock,
        entropy: Entropy,
        *,
        if_vacant: bool = True,
        detached: bool = False,
        on_beat: Callable[[HeartbeatReply | JoinReply, float], None] | None = None,
        on_end: Callable[[str], None] | None = None,
    ) -> None:
        self.room, self.role, self.connection_id = room, role, connection_id
        self._room_ref = room  # The room as calls name it: by its name, and after the first join by its id.
        self._print = say
        self._clock = clock
        self._call_session, self._beat_session, self._claim_session = connect(), connect(), connect()
        self._limits = self._call_session.limits
        self._if_vacant = if_vacant
        self._on_beat = on_beat or (lambda answer, sent_at: None)
        self._on_end = on_end or (lambda why: None)
        self._has_joined = threading.Event()
        self._end_kind: str | None = None
        self._heartbeat = Heartbeat(
            agent_heartbeat_policy(self._limits),
            self._send_beat,
            self._send_join,
            self._notice,
            clock,
            entropy,
            self._record_answer,
            self._limits.wait_step_s,
            blocked_signals=SIGNALS,
        )
        self._claim = ClaimLoop(
            self._claim_session,
            room,
            role,
            connection_id,
            self._heartbeat.is_present,
            self._heartbeat.beat_now,
            clock,
            entropy,
            detached=detached,
            spread_retries=self._heartbeat.spread_retries,
        )

    def join(self, patience_s: float | None = None) -> None:
        """Join, and stay present from now on. Raises a refusal of the server, or Unavailable if no answer came.

        `patience_s` is how long to try; the default is `first_contact_s`.
        """
        self._heartbeat.start()
        patience_s = self._limits.first_contact_s if patience_s is None else patience_s
        ends_at = self._clock.monotonic() + patience_s
        while not self._has_joined.wait(self._limits.wait_step_s / 10) and self._end_kind is None:
            if self._clock.monotonic() >= ends_at:
                self.stop()
                raise self._heartbeat.last_error or Unavailable("No answer came.", "Try again.", "unreachable")
        if self._end_kind is not None:
            raise self._end_error()

    def next_task(self, timeout_s: float | None = None) -> ClaimedTask | None:
        """Wait for the role's next task; None after `timeout_s`. Raises Conflict if another agent has the role."""
        task = self._claim.next_task(timeout_s)
        if task is None and self._end_kind is not None:
            raise self._end_error()
        return task

    @contextlib.contextmanager
    def faster_beats(self) -> Iterator[None]:
        """Beat more often while a run is on, to learn of a takeover in time.

        A takeover holds the task back for `takeover_grace_s`; this beats twice within that time.
        """
        self._heartbeat.set_pace(min(self._limits.heartbeat_interval_s, self._limits.takeover_grace_s / 2))
        try:
            yield
        finally:
            self._heartbeat.set_pace(None)

    def pause(self) -> None:
        """Stop, and report to the server that the silence from now on is intended, if it answers within `STOP_S_MAX`.

        Without that report the silence counts as one: nothing else depends on it.
        """
        is_present = self._heartbeat.is_present()
        self._stop_threads()
        if is_present:
            timeout = threading.Timer(STOP_S_MAX, self._call_session.give_up)
            timeout.start()
            with contextlib.suppress(GreenroomError):
                self._call_session.beat(self._room_ref, self.role, self.connection_id, pausing=True)
            timeout.cancel()
        self.stop()

    def stop(self) -> None:
        """Send no more beats, claims or calls. The participant stays present until its lease ends."""
        self._stop_threads()
        for session in (self._call_session, self._beat_session, self._claim_session):
            session.close()

    def _stop_threads(self) -> None:
        self._claim.stop()
        self._heartbeat.stop()
        self._beat_session.drop()
        self._heartbeat.stop(STOP_S_MAX)

    def leave(self, cause: Cause = "left", reason: str | None = None, patience_s: float | None = None) -> bool:
        """Leave the role; return False if the server could not be reached, so that the lease has to expire."""
        self.stop()
        session = self._call_session.with_patience(self._call_session.timeout_s if patience_s is None else patience_s)
        try:
            session.leave(self._room_ref, self.role, self.connection_id, cause, reason)
        except Unavailable:
            return False
        except GreenroomError:
            return True  # The server has no such participant any more: it has left.
        finally:
            session.close()
        return True

    def _send_join(self) -> JoinReply:
        # Only the first join requires a vacant role. Later ones are rejoins, which the server's fences decide.
        if_vacant = self._if_vacant and not self._has_joined.is_set()
        return self._beat_session.join(self._room_ref, self.role, self.connection_id, if_vacant)

    def _send_beat(self, slept_s: float) -> HeartbeatReply:
        return self._beat_session.beat(self._room_ref, self.role, self.connection_id, slept_s)

    def _record_answer(self, answer: HeartbeatReply | JoinReply, sent_at: float) -> None:
        if isinstance(answer, JoinReply) and answer.room:
            self._room_ref = self._claim.room = answer.room  # The name may change while this agent is present.
        self._has_joined.set()
        self._on_beat(answer, sent_at)

    def _notice(self, notice: HeartbeatNotice) -> None:
        match notice.kind:
            case words.RENEW_CLAIM:
                self._claim.renew()
            case words.NOTICE_REJOINED:
                self._print(
                    f"warning: the server had removed {self.role} from {self.room} after {notice.silent_s:.0f} s of "
                    "silence; it has rejoined."
                )
            case words.NOTICE_UNREACHABLE:
                self._print(f"note: no answer from {self._call_session.url} for {notice.silent_s:.0f} s; retrying.")
            case words.NOTICE_REACHABLE:
                self._print(f"note: {self._call_session.url} answers again.")
            case words.STOP_SUPERSEDED | words.STOP_REFUSED | words.STOP_DRAINED:
                if self._end_kind is None:
                    self._end_kind = notice.kind
                    self._claim.stop()
                    self._on_end(notice.kind)

    def _end_error(self) -> GreenroomError:
        if self._end_kind == words.STOP_REFUSED and self._heartbeat.last_error is not None:
            return self._heartbeat.last_error
        if self._end_kind == words.STOP_DRAINED:
            return Conflict(
                f"The server asked {self.role} in {self.room} to take no more tasks.",
                "A user stopped it, or closed the room. Do not wait for tasks in this role unless a user asks for it.",
                DRAINED,
            )
        return Superseded(
            f"Another agent has taken over {self.role} in {self.room}.",
            "Stop. Do not wait for tasks in this role unless a user asks for it.",
        )


def new_connection_id(entropy: Entropy) -> str:
    return format_id("conn", entropy.random_bytes(10))


def join_role(
    seat_of: Callable[[str, bool], Participation], carried: str | None, take_over: bool, entropy: Entropy
) -> Participation:
    """Join: continue the given participant if the server still allows it, else begin a new one.

    `seat_of` makes the participant of a connection id; its second argument requires the role to be vacant.
    """
    if carried is not None:
        with contextlib.suppress(Superseded):
            participation = seat_of(carried, not take_over)
            participation.join()
            return participation
    participation = seat_of(new_connection_id(entropy), not take_over)
    participation.join()
    return participation
