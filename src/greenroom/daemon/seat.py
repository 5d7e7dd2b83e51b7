"""Runs one participant of this daemon in one role, in a thread: join, work, report how it ended, leave.

`worker.WorkerSeat` and `resident.ResidentSeat` define the work. A role runner ends with its participant; the next
participant of the role gets a new runner. A runner can also adopt the participant of an earlier daemon.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from greenroom.client.session import Session
from greenroom.daemon.chair import TAKEN_OVER, Chair
from greenroom.daemon.chronicle import Chronicle
from greenroom.daemon.harness import Recipe
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import Run
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, Superseded, Unavailable
from greenroom.domain.supervision import History
from greenroom.wire.replies import JoinReply, TaskRef, Wish

log = logging.getLogger("greenroom.daemon.seat")

Answer = TypeVar("Answer")

LOOK_EVERY_S = 0.2


class Seat(ABC):
    """A thread that holds a role until it is stopped or superseded, or its work fails.

    `adopted` is the connection id of an earlier daemon's participant that this runner adopts. `when_over` is called
    once the report that the participant has ended cannot be lost any more.
    """

    def __init__(
        self,
        premises: Premises,
        wish: Wish,
        history: History,
        on_end: Callable[[], None],
        adopted: str | None,
        when_over: Callable[[], None] = lambda: None,
    ) -> None:
        self.wish = wish
        self.room, self.role = wish.room, wish.role
        self.connection_id = adopted or premises.new_id("conn")
        self._premises = premises
        self._on_end = on_end
        self._chair = Chair(self.room, self.role, self.connection_id, is_taken=adopted is not None)
        self._chronicle = Chronicle(premises, wish, self.connection_id, history, when_over)
        self._session = premises.desk.open_session()
        self._in_hand: Run | None = None
        self._stop_reason: str | None = None
        self._has_yielded = False
        self._is_over = False
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
        """End the work and leave. Returns at once; `on_end` is called when the runner has ended."""
        self._stop(reason, is_lost=False)

    def yield_role(self) -> None:
        """Stop, since a newer participant has the role, and do not take it back.

        Ignored for a participant that this daemon has reported as ended: the server answers `superseded` for it too.
        """
        if self.is_seated and not self._is_over:
            self._has_yielded = True
            self._stop(TAKEN_OVER, is_lost=True)

    def renew_claim(self) -> None:
        """Drop the connection, which may be lost: the next call opens a new one."""
        self._session.drop()

    def join_again(self, session: Session) -> None:
        """Join again with the same connection id, after the server removed this participant; it keeps its task."""
        try:
            self._sit_down(session)
        except Superseded:
            self.yield_role()

    @abstractmethod
    def drain(self) -> None:
        """Take no more tasks, and finish the one in hand."""

    @abstractmethod
    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Compare the work with `task`, which this participant holds by the heartbeat that was sent at `asked_at`.

        `asked_at` is in boot-time seconds; `notes` are all notes that users sent to that attempt.
        """

    @abstractmethod
    def _live(self) -> None:
        """Join, unless the participant was adopted, and work until the participant ends."""

    def _stop(self, reason: str, is_lost: bool) -> None:
        """Make the thread leave soon. `is_lost`: another participant has the role already."""
        self._stop_reason = self._stop_reason or reason
        self._look.set()

    # The thread.

    def _run(self) -> None:
        try:
            self._live()
        except Superseded:
            self._has_yielded = True
        except ConfigurationError as error:
            log.warning("agent cannot run: %s: %s", self._thread.name, error)
            self._hinder(str(error), self._in_hand)
        except GreenroomError as error:
            # The room was closed, or the agent spec changed, and this daemon has not read that yet: no failure.
            log.info("agent leaves: %s: %s", self._thread.name, error)
            self._chronicle.rests(str(error))
        except Exception as error:
            log.exception("agent failed: %s: internal error of Greenroom", self._thread.name)
            if self.is_seated:
                detail = f"the daemon failed: {error!r}"
                self._close(lambda: self._chronicle.died(detail, self._in_hand))
        finally:
            self._get_up()

    def _insist(self, ask: Callable[[], Answer]) -> Answer | None:
        """Retry a call until the server answers, however long that takes; None when the runner was stopped before."""
        while self._stop_reason is None:
            try:
                return ask()
            except Unavailable:
                self._look.wait(self._premises.retry_pause_s())
            except Conflict as error:
                # Another participant has the role, or the room was closed: the supervisor tries again later.
                self._has_yielded = True
                self.stop(str(error))
        return None

    def _sit_down(self, session: Session) -> JoinReply:
        """Join or rejoin. Raises Superseded, and any other rejection."""
        return self._chair.take(session)

    def _check(self) -> Recipe:
        """Check that a run can be started and recorded, before a task is taken. Raises ConfigurationError if not."""
        recipe = self._premises.recipe(self.wish)
        self._premises.book.check()
        return recipe

    # The end.

    def _hinder(self, detail: str, run: Run | None = None) -> None:
        """Record that no process could be started, which is not a failure of the agent."""
        if self.is_seated:
            self._close(lambda: self._chronicle.hindered(detail, run))
        else:
            self._chronicle.rests(detail)

    def _close(self, tell: Callable[[], threading.Event]) -> None:
        """End the participant by a report, and wait until the server has it.

        The next participant of the role must not join before: the failure would look like a takeover. Heartbeats name
        this participant until the report is in the outbox: the first heartbeat of a daemon ends all participants that
        it does not name, without a cause.
        """
        self._is_over = True
        is_sent = tell()
        self._chair.is_taken = False
        self._wait_for(is_sent)

    def _wait_for(self, is_sent: threading.Event) -> None:
        """Wait until the server has the report, or the runner is stopped."""
        while self._stop_reason is None and not is_sent.wait(LOOK_EVERY_S):
            pass

    def _get_up(self) -> None:
        try:
            if self._has_yielded:
                self._chair.is_taken = False
                self._chronicle.yielded()
            else:
                self._chair.get_up(self._session, self._stop_reason)
        finally:
            self._session.close()
            self._on_end()
