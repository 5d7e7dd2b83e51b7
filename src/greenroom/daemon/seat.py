"""One sitting of this daemon in one role: join, live, tell how it ended, get up. Must not know what is done there.

Whatever ends the sitting ends the seat, and sitting down again is a new seat's work. A seat can also be an earlier
daemon's sitting, adopted with what was left in it.
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
    """A thread that sits in a role until it is stopped, superseded, or what it does there ends badly.

    `adopted` is the connection of an earlier daemon's sitting, which this seat is then. `when_over` is called once the
    word that the sitting is over cannot be lost any more.
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
        """End what is done there and get up. Returns at once; the seat says when it has ended."""
        self._stop(reason, is_lost=False)

    def yield_role(self) -> None:
        """Somebody newer has the role: stop, and do not take it from them.

        A sitting that ended by our own word is closed as well, and that is not meant.
        """
        if self.is_seated and not self._is_over:
            self._has_yielded = True
            self._stop(TAKEN_OVER, is_lost=True)

    def renew_claim(self) -> None:
        """The lines may be dead: what comes next is asked on a new one."""
        self._session.drop()

    def join_again(self, session: Session) -> None:
        """Come back to a seat from which the server has removed this sitting, with what it holds."""
        try:
            self._sit_down(session)
        except Superseded:
            self.yield_role()

    @abstractmethod
    def drain(self) -> None:
        """Take no more tasks; the one in hand is finished."""

    @abstractmethod
    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Hear which task the server counts as this seat's, when asked at `asked_at`.

        `notes` are all that people sent to that attempt.
        """

    @abstractmethod
    def _live(self) -> None:
        """Sit down, unless it was adopted, and do what is done there until the sitting is over."""

    def _stop(self, reason: str, is_lost: bool) -> None:
        """Have the thread get up soon. `is_lost`: the role is somebody else's already."""
        self._stop_reason = self._stop_reason or reason
        self._look.set()

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
            log.info("%s gets up: %s", self._thread.name, error)
            self._chronicle.rests(str(error))
        except Exception as error:
            log.exception("%s failed by an error of Greenroom's own", self._thread.name)
            if self.is_seated:
                detail = f"the daemon failed: {error!r}"
                self._close(lambda: self._chronicle.died(detail, self._in_hand))
        finally:
            self._get_up()

    def _insist(self, ask: Callable[[], Answer]) -> Answer | None:
        """Ask the server, however long it is away; None when the seat was stopped before it answered."""
        while self._stop_reason is None:
            try:
                return ask()
            except Unavailable:
                self._look.wait(self._premises.retry_pause_s())
            except Conflict as error:
                # Somebody sits there, or the room was closed: it is looked at again later.
                self._has_yielded = True
                self.stop(str(error))
        return None

    def _sit_down(self, session: Session) -> JoinReply:
        """Sit down, or come back. Raises Superseded, and what else is refused."""
        return self._chair.take(session)

    def _check(self) -> Recipe:
        """Who can run nothing, or not write it down, takes no task. Raises ConfigurationError with what is missing."""
        recipe = self._premises.recipe(self.wish)
        self._premises.book.check()
        return recipe

    # How it ends.

    def _hinder(self, detail: str, run: Run | None = None) -> None:
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
            self._session.close()
            self._on_end()
