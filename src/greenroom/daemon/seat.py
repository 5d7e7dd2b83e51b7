"""One role that this daemon sits in: join, claim, run, report. Must not know what is wished next or who beats.

A seat is one sitting. Whatever ends the sitting ends the seat, and sitting down again is a new seat's work.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from greenroom.client.claiming import StandingClaim
from greenroom.client.errand import (
    DID_ITSELF,
    DONE,
    FAILED,
    FOR_EVER,
    STOPPED,
    Errand,
    Outcome,
    Plan,
    task_environment,
)
from greenroom.client.session import Session
from greenroom.clock import instant_of
from greenroom.daemon.harness import Recipe
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import Run
from greenroom.domain import supervision
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, Superseded, Unavailable
from greenroom.domain.sitting import DRAIN, SUPERSEDED
from greenroom.domain.supervision import History
from greenroom.process.environment import child_environment
from greenroom.process.group import Exit
from greenroom.process.identity import Identity
from greenroom.process.program import check_program
from greenroom.wire.replies import ClaimedTask, TaskRef, Wish
from greenroom.wire.requests import Fact

log = logging.getLogger("greenroom.daemon.seat")

DETAIL_CHARACTERS_MAX = 8 * 1024
LOOK_EVERY_S = 0.2
TAKEN_OVER = "somebody else took the role over"


class Seat:
    """A thread that sits in a role until it is stopped, superseded, or an agent's run ends badly."""

    def __init__(self, premises: Premises, wish: Wish, history: History, on_end: Callable[[], None]) -> None:
        self.wish = wish
        self.history = history
        self.room, self.role = wish.room, wish.role
        self.connection_id = premises.new_id("conn")
        self.is_seated = False
        self._may_be_seated = False
        self._premises = premises
        self._on_end = on_end
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
        )
        self._errand: Errand | None = None
        self._run_in_hand: Run | None = None
        self._began_at = 0.0
        self._stop_reason: str | None = None
        self._has_yielded = False
        self._lock = threading.Lock()
        self._look = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{wish.room_name}/{wish.role}", daemon=True)

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
        if not self.is_seated:
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
            errand, run, began_at = self._errand, self._run_in_hand, self._began_at
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
            self._die(str(error), self._run_in_hand)
        except GreenroomError as error:
            # The room was closed, or the role wished away, and that wish is still on its way to us: nobody died.
            log.warning("%s gets up: %s", self._thread.name, error)
            self._rest()
        except Exception as error:
            log.exception("%s failed by an error of Greenroom's own", self._thread.name)
            self._die(f"the daemon failed: {error!r}", self._run_in_hand)
        finally:
            self._get_up()

    def _live(self) -> None:
        self._join()
        if self._stop_reason is None:
            self._check()
        while self._stop_reason is None and (task := self._claim.next_task()) is not None:
            if not self._settle(self._carry_out(task)):
                return
        if self._stop_reason is None:
            self._rest()  # asked to leave: there is no sitting down again at once

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
        try:
            reply = session.join(self.room, self.role, self.connection_id, if_vacant=not self.is_seated)
        except Unavailable:
            self._may_be_seated = True
            raise
        if reply.status == SUPERSEDED:
            raise Superseded(TAKEN_OVER, "It is taken again when it is vacant.")
        self.is_seated, self._may_be_seated = True, False
        if reply.status == DRAIN:
            self.drain()
        self.confirm(reply.task, asked_at)

    def _carry_out(self, task: ClaimedTask) -> Outcome:
        """Run the agent's command for one task. The run is written down before it begins and until its end is told."""
        premises = self._premises
        run = Run(task=task.id, attempt=task.attempt, room=self.room, role=self.role, connection_id=self.connection_id)
        try:
            plan = self._plan(premises.house.recipe(self.wish), task)
            premises.book.note(run)
        except (ConfigurationError, OSError) as error:
            return Outcome(kind=FAILED, detail=str(error))

        def started(identity: Identity) -> None:
            self._note(msgspec.structs.replace(run, identity=identity))
            premises.outbox.put(self._fact("started", run))

        errand = Errand(self._session, task, self.connection_id, plan, premises.clock, started)
        with self._lock:
            self._errand, self._run_in_hand = errand, run
            self._began_at = premises.clock.boottime()
            reason = self._stop_reason
        if reason is not None:
            errand.stop(reason)
        try:
            return errand.carry_out()
        finally:
            with self._lock:
                self._errand = None

    def _plan(self, recipe: Recipe, task: ClaimedTask) -> Plan:
        premises, wish = self._premises, self.wish
        told = task_environment(premises.desk.url, wish.room_name, wish.role, task, self.connection_id)
        return Plan(
            command=recipe.command,
            cwd=recipe.workdir,
            env=child_environment(premises.environ, {**recipe.env, **told}),
            then=recipe.then,
            folder=premises.shelf.place(wish.room_name, wish.role, task.id, task.attempt),
            timeout_s=recipe.timeout_s,
        )

    # How it ends.

    def _settle(self, outcome: Outcome) -> bool:
        """Take down how a run ended; False when the sitting ends with it."""
        run, self._run_in_hand = self._run_in_hand, None
        name = f"{run.task}, attempt {run.attempt}" if run is not None else "no run"
        level = logging.WARNING if outcome.kind == FAILED else logging.INFO
        log.log(level, "%s: %s: %s", self._thread.name, name, outcome.detail)
        if outcome.kind == FAILED:
            self._die(outcome.detail, run, outcome.exit)
            return False
        self._report(outcome.detail, run, outcome.exit)
        if outcome.kind in (DONE, DID_ITSELF):
            self.history = supervision.succeeded(self.wish.generation)
        return outcome.kind != STOPPED

    def _die(self, detail: str, run: Run | None = None, ended: Exit | None = None) -> None:
        """Take down an end that nobody wished. The server ends the sitting on that word, and no earlier one may.

        So it is waited for: sitting down anew first would make a death look like a takeover.
        """
        until = self._rest()
        if not self.is_seated:
            return
        self.is_seated = False
        told = self._report(detail, run, ended, intended=False, until=until)
        while self._stop_reason is None and not told.wait(LOOK_EVERY_S):
            pass

    def _rest(self) -> str:
        """Rest before the next try; the instant until which."""
        premises = self._premises
        now = premises.clock.boottime()
        self.history = supervision.ended(
            self.history, self.wish.generation, now, premises.entropy.fraction(), premises.limits
        )
        assert self.history.rests_until is not None
        return instant_of(premises.clock.wall() + self.history.rests_until - now)

    def _report(
        self, detail: str, run: Run | None, ended: Exit | None, intended: bool = True, until: str | None = None
    ) -> threading.Event:
        """Send on its way how a run, or a sitting without one, ended; the run stays written down until that is told."""
        fact = self._fact(
            "exited",
            run,
            code=ended.code if ended is not None else None,
            signal=ended.signal if ended is not None else None,
            intended=intended,
            until=until,
            detail=detail[:DETAIL_CHARACTERS_MAX],
        )
        if run is None:
            return self._premises.outbox.put(fact)
        self._note(msgspec.structs.replace(run, fact=fact))
        return self._premises.outbox.put(fact, lambda: self._premises.book.forget(run))

    def _note(self, run: Run) -> None:
        """Write down how far a run is. A disk that takes nothing more must not stop the run, or the word of its end."""
        try:
            self._premises.book.note(run)
        except OSError as error:
            log.error("%s: a daemon that was killed now would not know of it: %s", run.task, error)

    def _fact(self, kind: Literal["started", "exited"], run: Run | None, **more: Any) -> Fact:
        return Fact(
            id=self._premises.new_id("fact"),
            kind=kind,
            room=self.room,
            role=self.role,
            connection_id=self.connection_id,
            task=run.task if run is not None else None,
            attempt=run.attempt if run is not None else None,
            at=instant_of(self._premises.clock.wall()),
            **more,
        )

    def _get_up(self) -> None:
        """Leave, unless the server knows already that this sitting is over.

        A join whose answer was lost may have been heard. Nobody would name that sitting in a beat, and the next one
        would find the role taken until its lease has run out.
        """
        try:
            if self._has_yielded:
                now = self._premises.clock.boottime()
                self.history = supervision.yielded(self.wish.generation, now, self._premises.limits)
            elif self.is_seated or self._may_be_seated:
                session = self._session.patient(FOR_EVER)
                session.leave(self.room, self.role, self.connection_id, "stopped", self._stop_reason)
        except GreenroomError as error:
            log.warning("%s could not leave: %s", self._thread.name, error)
        finally:
            self.is_seated = False
            self._claim.end()
            self._session.close()
            self._on_end()
