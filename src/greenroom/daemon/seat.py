"""One role that this daemon sits in: join, claim, run, report. Must not know what is wished next or who beats.

A seat is one sitting. Whatever ends the sitting ends the seat, and sitting down again is a new seat's work. A seat can
also be an earlier daemon's sitting, adopted with the run that was left in it.
"""

import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from greenroom.client.claiming import StandingClaim
from greenroom.client.errand import Errand
from greenroom.client.outcome import FAILED, NOT_BEGUN, PAUSED, STOPPED, Outcome
from greenroom.client.session import Session
from greenroom.daemon import errands
from greenroom.daemon.chair import Chair
from greenroom.daemon.chronicle import Chronicle
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import Run
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, Superseded, Unavailable
from greenroom.domain.sitting import DRAIN
from greenroom.domain.supervision import History
from greenroom.process.environment import child_environment
from greenroom.process.identity import Identity
from greenroom.process.program import check_program
from greenroom.wire.replies import ClaimedTask, TaskRef, Wish

log = logging.getLogger("greenroom.daemon.seat")

LOOK_EVERY_S = 0.2
TAKEN_OVER = "somebody else took the role over"


class Seat:
    """A thread that sits in a role until it is stopped, superseded, or an agent's run ends badly.

    `adopted` is a run that an earlier daemon left: the seat is that sitting, and carries it on.
    """

    def __init__(
        self,
        premises: Premises,
        wish: Wish,
        history: History,
        on_end: Callable[[], None],
        adopted: Run | None = None,
    ) -> None:
        self.wish = wish
        self.room, self.role = wish.room, wish.role
        self.connection_id = adopted.connection_id if adopted is not None else premises.new_id("conn")
        self._chair = Chair(self.room, self.role, self.connection_id, is_taken=adopted is not None)
        self._is_over = False
        self._adopted = adopted
        self._premises = premises
        self._on_end = on_end
        self._chronicle = Chronicle(premises, wish, self.connection_id, history)
        self._session = premises.desk.open_session()
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
        self._in_hand: Run | None = None
        self._began_at = 0.0
        self._stop_reason: str | None = None
        self._has_yielded = False
        self._lock = threading.Lock()
        self._look = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{wish.room_name}/{wish.role}", daemon=True)

    @property
    def is_seated(self) -> bool:
        return self._chair.is_taken

    @property
    def history(self) -> History:
        return self._chronicle.history

    def start(self) -> None:
        self._thread.start()

    def stop(self, reason: str) -> None:
        """End the run, if there is one, and get up. Returns at once; the seat says when it has ended."""
        with self._lock:
            self._stop_reason = self._stop_reason or reason
            errand = self._errand
        self._look.set()
        self._claim.end()
        if errand is not None:
            errand.stop(reason)

    def yield_role(self) -> None:
        """Somebody newer has the role: stop, and do not take it from them. What a run had written is handed in.

        A sitting that ended by our own word is closed as well, and that is not meant.
        """
        if not self.is_seated or self._is_over:
            return
        self._has_yielded = True
        with self._lock:
            self._stop_reason = self._stop_reason or TAKEN_OVER
            errand = self._errand
        self._look.set()
        self._claim.end()
        if errand is not None:
            errand.lose("Somebody else took the role over.")

    def drain(self) -> None:
        """Take no more tasks; the one in hand is finished."""
        self._claim.end()

    def renew_claim(self) -> None:
        """The lines may be dead: what waits on one is asked again on a new one, and so is what comes next."""
        self._claim.renew()
        self._session.drop()

    def join_again(self, session: Session) -> None:
        """Come back to a seat from which the server has removed this sitting, with what it holds."""
        try:
            self._take_join(session)
        except Superseded:
            self.yield_role()
        self._claim.renew()

    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Compare what runs with the task that the server named, when asked at `asked_at`, as this seat's.

        `notes` are all that people sent to that attempt.
        """
        with self._lock:
            errand, run, began_at = self._errand, self._in_hand, self._began_at
        if errand is None or run is None or began_at >= asked_at:
            return
        if task is None or (task.id, task.attempt) != (run.task, run.attempt):
            errand.doubt()
            return
        try:
            for note in errand.take_notes(notes):
                log.info("%s: %s: a note for its agent: %s", self._thread.name, run.task, note)
        except OSError as error:
            log.error("%s: %s: a note cannot be given to the command: %s", self._thread.name, run.task, error)

    # The thread.

    def _run(self) -> None:
        try:
            self._live()
        except Superseded:
            self._has_yielded = True
        except ConfigurationError as error:
            log.warning("%s cannot be run: %s", self._thread.name, error)
            self._hinder(str(error), self._in_hand)
        except GreenroomError as error:
            # The room was closed, or the role wished away, and that wish is still on its way to us: nobody died.
            log.warning("%s gets up: %s", self._thread.name, error)
            self._chronicle.rests(str(error))
        except Exception as error:
            log.exception("%s failed by an error of Greenroom's own", self._thread.name)
            if self.is_seated:
                detail = f"the daemon failed: {error!r}"
                self._close(lambda: self._chronicle.died(detail, self._in_hand))
        finally:
            self._get_up()

    def _live(self) -> None:
        if self._adopted is None:
            self._join()
        elif not self._settle(self._carry_on(self._adopted), is_adopted=True):
            return
        if self._stop_reason is None:
            self._check()
        while self._stop_reason is None and (task := self._claim.next_task()) is not None:
            if not self._settle(self._carry_out(task)):
                return
        if self._stop_reason is None:
            # There is no sitting down again at once.
            self._chronicle.rests("the server asked it to take no more tasks")

    def _check(self) -> None:
        """Who could run nothing takes no task. Raises ConfigurationError with what is missing."""
        premises = self._premises
        recipe = premises.house.recipe(self.wish)
        check_program(recipe.command, recipe.workdir, child_environment(premises.environ, recipe.env))
        premises.book.check()

    def _join(self) -> None:
        """Sit down, however long the server is away."""
        while self._stop_reason is None:
            try:
                self._take_join(self._session)
                return
            except Unavailable:
                self._look.wait(self._premises.retry_pause_s())
            except Conflict as error:
                # Somebody sits there, or the room was closed: it is looked at again later.
                self._stop_reason, self._has_yielded = str(error), True

    def _take_join(self, session: Session) -> None:
        asked_at = self._premises.clock.boottime()
        reply = self._chair.take(session)
        if reply.status == DRAIN:
            self.drain()
        self.confirm(reply.task, asked_at)

    # The run.

    def _carry_out(self, task: ClaimedTask) -> Outcome:
        """Run the agent's command for one task. The run is written down before it begins and until its end is told."""
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
        errand = Errand(self._session, task, self.connection_id, plan, premises.clock, lambda it: self._begin(run, it))
        return self._see_through(errand, run, errand.carry_out)

    def _carry_on(self, run: Run) -> Outcome:
        """Go on with a run that an earlier daemon began."""
        errand = errands.again(self._premises, self._session, run, lambda it: self._begin(run, it))
        return self._see_through(errand, run, errand.carry_on)

    def _see_through(self, errand: Errand, run: Run, carry: Callable[[], Outcome]) -> Outcome:
        with self._lock:
            self._errand, self._in_hand = errand, run
            self._began_at = self._premises.clock.boottime()
            reason, has_yielded = self._stop_reason, self._has_yielded
        if has_yielded:
            errand.lose("Somebody else took the role over.")
        elif reason is not None:
            errand.stop(reason)
        try:
            return carry()
        finally:
            with self._lock:
                self._errand = None

    def _begin(self, run: Run, identity: Identity) -> None:
        """Its command runs. A disk that takes nothing more must not stop the run, or the word of its end."""
        try:
            self._premises.book.note(msgspec.structs.replace(run, identity=identity))
        except OSError as error:
            log.error("%s: a daemon that was killed now would not know its process: %s", run.task, error)
        self._chronicle.began(run)

    # How it ends.

    def _settle(self, outcome: Outcome, is_adopted: bool = False) -> bool:
        """Take down how a run ended; False when the sitting ends with it."""
        run, self._in_hand = self._in_hand, None
        assert run is not None
        level = logging.WARNING if outcome.kind == FAILED else logging.INFO
        log.log(level, "%s: %s, attempt %d: %s", self._thread.name, run.task, run.attempt, outcome.detail)
        if outcome.kind == FAILED:
            self._close(lambda: self._chronicle.died(outcome.detail, run, outcome.exit))
        elif outcome.kind == PAUSED:
            self._close(lambda: self._chronicle.paused(run, outcome))
        elif outcome.kind == NOT_BEGUN and not is_adopted:
            self._hinder(outcome.detail, run)
        else:
            told = self._chronicle.ended(run, outcome)
            if outcome.kind == NOT_BEGUN:
                self._wait_for(told)  # Until then a claim is answered with the same attempt, which then is given back.
            return outcome.kind != STOPPED
        return False

    def _hinder(self, detail: str, run: Run | None) -> None:
        """Take down that nothing could be run, which nobody died of."""
        if self.is_seated:
            self._close(lambda: self._chronicle.hindered(detail, run))
        else:
            self._chronicle.rests(detail)

    def _close(self, tell: Callable[[], threading.Event]) -> None:
        """End the sitting by a fact. The server ends it on that word, and no earlier one may.

        So it is waited for: sitting down anew first would make a death look like a takeover. Until the fact is on its
        way the beats name the sitting: a daemon's first one would end it, without a word of how.
        """
        self._is_over = True
        told = tell()
        self._chair.is_taken = False
        self._wait_for(told)

    def _wait_for(self, told: threading.Event) -> None:
        """Wait until the server knows, or we are told to stop."""
        while self._stop_reason is None and not told.wait(LOOK_EVERY_S):
            pass

    def _get_up(self) -> None:
        try:
            if self._has_yielded:
                self._chair.is_taken = False
                self._chronicle.yielded()
            else:
                self._chair.get_up(self._session, self._stop_reason)
        finally:
            self._claim.end()
            self._session.close()
            self._on_end()
