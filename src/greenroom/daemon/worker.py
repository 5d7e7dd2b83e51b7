"""Runs the command of a role once for each task: claim, run, report."""

import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from greenroom.client.claiming import StandingClaim
from greenroom.client.errand import Errand
from greenroom.client.outcome import DID_ITSELF, DONE, FAILED, NOT_BEGUN, PAUSED, STOPPED, Outcome
from greenroom.client.session import Session
from greenroom.daemon import errands
from greenroom.daemon.chair import TAKEN_OVER
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import Run
from greenroom.daemon.seat import Seat
from greenroom.domain.sitting import DRAIN
from greenroom.domain.supervision import History
from greenroom.process.identity import Identity
from greenroom.wire.replies import ClaimedTask, JoinReply, TaskRef, Wish

log = logging.getLogger("greenroom.daemon.worker")


class WorkerSeat(Seat):
    """Takes one task after the other, until it is stopped or superseded, or a run fails.

    `adopted` is a run that an earlier daemon left: the runner adopts its participant and goes on with that run.
    """

    def __init__(
        self,
        premises: Premises,
        wish: Wish,
        history: History,
        on_end: Callable[[], None],
        adopted: Run | None = None,
    ) -> None:
        super().__init__(premises, wish, history, on_end, adopted.connection_id if adopted is not None else None)
        self._adopted = adopted
        self._claim = StandingClaim(
            premises.desk.open_session(),
            wish.room,
            wish.role,
            self.connection_id,
            lambda: self.is_seated and premises.is_connected(),
            premises.beat_now,
            premises.clock,
            premises.entropy,
            interval_s=premises.limits.daemon_heartbeat_interval_s,
            ttl_s=premises.limits.daemon_heartbeat_ttl_s,
            is_crowded=premises.is_crowded,
        )
        self._errand: Errand | None = None
        self._began_at = 0.0
        self._lock = threading.Lock()

    def drain(self) -> None:
        self._claim.end()

    def renew_claim(self) -> None:
        """Send the claim, and the next calls, on new connections."""
        self._claim.renew()
        super().renew_claim()

    def join_again(self, session: Session) -> None:
        super().join_again(session)
        self._claim.renew()

    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Check the run against the task that the server named, and deliver the notes that are new."""
        with self._lock:
            errand, run, began_at = self._errand, self._in_hand, self._began_at
        if errand is None or run is None or began_at >= asked_at:
            return
        if task is None or (task.id, task.attempt) != (run.task, run.attempt):
            errand.doubt()
            return
        try:
            for note in errand.take_notes(notes):
                log.info("note delivered: %s, %s: %s", self._thread.name, run.task, note)
        except OSError as error:
            log.error("note not delivered: %s, %s: %s", self._thread.name, run.task, error)

    def _stop(self, reason: str, is_lost: bool) -> None:
        """End the run, if there is one. If the role was lost, its output is handed in as a late result."""
        super()._stop(reason, is_lost)
        self._claim.end()
        with self._lock:
            errand = self._errand
        if errand is not None:
            end(errand, reason, is_lost)

    # The thread.

    def _live(self) -> None:
        if self._adopted is None:
            self._insist(lambda: self._sit_down(self._session))
        elif not self._record_end(self._resume_run(self._adopted), is_adopted=True):
            return
        if self._stop_reason is None:
            self._check()
        while self._stop_reason is None and (task := self._claim.next_task()) is not None:
            if not self._record_end(self._run_task(task)):
                return
        if self._stop_reason is None:
            # The backoff keeps the next participant from joining at once.
            self._chronicle.rests("the server asked it to take no more tasks")

    def _sit_down(self, session: Session) -> JoinReply:
        asked_at = self._premises.clock.boottime()
        reply = super()._sit_down(session)
        if reply.status == DRAIN:
            self.drain()
        self.confirm(reply.task, asked_at)
        return reply

    def _get_up(self) -> None:
        self._claim.end()
        super()._get_up()

    # The run.

    def _run_task(self, task: ClaimedTask) -> Outcome:
        """Run the command for one task. The run is on record from before its start until its end is reported."""
        premises = self._premises
        run = self._in_hand = Run(
            task=task.id,
            attempt=task.attempt,
            room=self.room,
            role=self.role,
            connection_id=self.connection_id,
            wish=self.wish,
            trial=self.history.is_parked,
        )
        run, plan = errands.prepare(premises, run, task)
        errand = Errand(
            self._session,
            task,
            self.connection_id,
            plan,
            premises.clock,
            lambda identity: self._record_start(run, identity),
        )
        return self._finish_run(errand, run, errand.carry_out)

    def _resume_run(self, run: Run) -> Outcome:
        """Go on with a run that an earlier daemon started."""
        errand = errands.again(self._premises, self._session, run, lambda identity: self._record_start(run, identity))
        return self._finish_run(errand, run, errand.carry_on)

    def _finish_run(self, errand: Errand, run: Run, execute: Callable[[], Outcome]) -> Outcome:
        with self._lock:
            self._errand, self._in_hand = errand, run
            self._began_at = self._premises.clock.boottime()
        reason = self._stop_reason  # read before the other, which is set first
        if self._has_yielded or reason is not None:
            end(errand, reason or TAKEN_OVER, is_lost=self._has_yielded)
        try:
            return execute()
        finally:
            with self._lock:
                self._errand = None

    def _record_start(self, run: Run, identity: Identity) -> None:
        """Record and report that the command runs. A full disk must not stop the run, or the report of its end."""
        try:
            self._premises.book.note(msgspec.structs.replace(run, identity=identity))
        except OSError as error:
            log.error("cannot update the run record: %s: %s; it does not name the process", run.task, error)
        self._chronicle.began(run)

    def _record_end(self, outcome: Outcome, is_adopted: bool = False) -> bool:
        """Record and report how a run ended; False when the participant ends with it."""
        run, self._in_hand = self._in_hand, None
        assert run is not None
        level = logging.WARNING if outcome.kind == FAILED else logging.INFO
        log.log(level, "run ended: %s, %s, attempt %d: %s", self._thread.name, run.task, run.attempt, outcome.detail)
        # A success counts as one, even if an earlier daemon could not hand the result on and counted a failure.
        is_well = outcome.kind in (DONE, DID_ITSELF)
        if outcome.kind == FAILED or (not is_well and self._chronicle.has_counted(run)):
            self._close(lambda: self._chronicle.died(outcome.detail, run, outcome.exit))
        elif outcome.kind == PAUSED:
            self._close(lambda: self._chronicle.paused(run, outcome))
        elif outcome.kind == NOT_BEGUN and not is_adopted:
            self._hinder(outcome.detail, run)
        else:
            is_sent = self._chronicle.ended(run, outcome)
            if outcome.kind == NOT_BEGUN:
                self._wait_for(is_sent)  # Until then, a claim gets this same attempt, which the report then releases.
            return outcome.kind != STOPPED
        return False


def end(errand: Errand, reason: str, is_lost: bool) -> None:
    """End a run from another thread. If the role was lost, the run hands in its output as a late result."""
    if is_lost:
        errand.lose(f"{TAKEN_OVER.capitalize()}.")
    else:
        errand.stop(reason)
