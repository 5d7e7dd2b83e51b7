"""One role that this daemon keeps a process alive in. Must not know which tasks that process asks for, or how it works.

A seat is one sitting, and one start of the process: whatever ends either ends both, and the next start is a new seat's
work. The process asks for its tasks under the seat's connection; that it is present is told by the daemon's beats.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from greenroom.client.session import Session
from greenroom.daemon import upkeep
from greenroom.daemon.chair import Chair
from greenroom.daemon.chronicle import Chronicle
from greenroom.daemon.premises import Premises
from greenroom.daemon.residents import Resident, ResidentBook
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, Superseded, Unavailable
from greenroom.domain.supervision import History
from greenroom.process.group import Exit, Group
from greenroom.wire.replies import TaskRef, Wish

log = logging.getLogger("greenroom.daemon.resident")

Answer = TypeVar("Answer")

STEP_S = 0.2
TAKEN_OVER = "somebody else took the role over"
TAKEN_AWAY = "the seat was taken away before its process ended"


class ResidentSeat:
    """A thread that sits in a role and keeps its process, until it is stopped, superseded, or the process ends.

    `adopted` is a process that an earlier daemon left: the seat is that sitting, and keeps it on.
    """

    def __init__(
        self,
        premises: Premises,
        book: ResidentBook,
        wish: Wish,
        history: History,
        on_end: Callable[[], None],
        adopted: Resident | None = None,
    ) -> None:
        self.wish = wish
        self.room, self.role = wish.room, wish.role
        self.connection_id = adopted.connection_id if adopted is not None else premises.new_id("conn")
        self._premises = premises
        self._book = book
        self._adopted = adopted
        self._on_end = on_end
        self._chair = Chair(self.room, self.role, self.connection_id, is_taken=adopted is not None)
        over = partial(book.forget, self.connection_id)
        self._chronicle = Chronicle(premises, wish, self.connection_id, history, over)
        self._session = premises.desk.open_session()
        self._stop_reason: str | None = None
        self._has_yielded = False
        self._is_over = False
        self._task: TaskRef | None = None
        self._task_since = 0.0
        self._look = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{wish.room_name}/{wish.role}", daemon=True)

    @property
    def history(self) -> History:
        return self._chronicle.history

    @property
    def is_seated(self) -> bool:
        return self._chair.is_taken

    def start(self) -> None:
        self._thread.start()

    def stop(self, reason: str) -> None:
        """End the process and get up. Returns at once; the seat says when it has ended."""
        self._stop_reason = self._stop_reason or reason
        self._look.set()

    def yield_role(self) -> None:
        """Somebody newer has the role: stop, and do not take it from them."""
        if self.is_seated and not self._is_over:
            self._has_yielded = True
            self.stop(TAKEN_OVER)

    def drain(self) -> None:
        """The server gives it no more tasks; the process stays until the wish says otherwise."""

    def renew_claim(self) -> None:
        """The lines may be dead: what comes next is asked on a new one."""
        self._session.drop()

    def join_again(self, session: Session) -> None:
        """Come back to a seat from which the server has removed this sitting, with what it holds."""
        try:
            self._chair.take(session)
        except Superseded:
            self.yield_role()

    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Note which task the server counts as this seat's, and since when it does, in sight of us.

        Notes, and that a task was taken away, the process hears with its next call, like any agent that beats not.
        """
        if task != self._task:
            self._task, self._task_since = task, self._premises.clock.monotonic()

    # The thread.

    def _run(self) -> None:
        try:
            self._live()
        except Superseded:
            self._has_yielded = True
        except ConfigurationError as error:
            log.warning("%s cannot be run: %s", self._thread.name, error)
            self._hinder(str(error))
        except GreenroomError as error:
            # The room was closed, or the role wished away, and that wish is still on its way to us: nobody died.
            log.warning("%s gets up: %s", self._thread.name, error)
            self._chronicle.rests(str(error))
        except Exception as error:
            log.exception("%s failed by an error of Greenroom's own", self._thread.name)
            if self.is_seated:
                detail = f"the daemon failed: {error!r}"
                self._close(lambda: self._chronicle.died(detail, None))
        finally:
            self._get_up()

    def _live(self) -> None:
        resident = self._adopted
        if resident is not None:
            group = Group.adopt(Path(resident.folder), resident.marks)
        else:
            resident, group = self._begin()
        if resident is None:
            return
        if group is None:
            self._chronicle.is_over("The command was never started.")
            return
        self._chronicle.began(None)
        try:
            too_long = self._watch(group, resident.began_at)
        finally:
            ended = group.stop(self._premises.limits.stop_grace_s)  # Also whoever the process left behind.
        if ended is not None and ended.refused is not None:
            self._hinder(f"The command was {ended}.")
        elif self._stop_reason is not None or not self._is_still_ours():
            self._chronicle.is_over(self._stop_reason or TAKEN_AWAY, ended)
        else:
            self._conclude(resident, ended, too_long)

    def _begin(self) -> tuple[Resident | None, Group | None]:
        """Sit down and start the process; nothing where the seat was stopped meanwhile."""
        if self._insist(lambda: self._chair.take(self._session)) is None:
            return None, None
        recipe = upkeep.recipe_of(self._premises, self.wish)
        token = self._insist(lambda: self._session.room_token(self.room, self.role))
        if token is None:
            return None, None
        resident = upkeep.prepare(self._premises, self._book, self.wish, self.connection_id)
        return resident, upkeep.start(self._premises, resident, recipe, token.token)

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

    def _watch(self, group: Group, began_at: float) -> str | None:
        """Wait until the process has ended, or has to be; why, where its task takes too long."""
        premises, limit_s = self._premises, self.wish.task_timeout_s
        well_at = premises.clock.monotonic() + premises.limits.restart_reset_s
        well_at -= max(0.0, premises.clock.wall() - began_at)
        is_well = False
        while group.wait(STEP_S) is None and self._stop_reason is None:
            now = premises.clock.monotonic()
            if not is_well and now >= well_at:
                is_well = True
                self._chronicle.is_well()
            if limit_s is not None and self._task is not None and now - self._task_since >= limit_s:
                return f"Task {self._task.id} was not done within {limit_s:g} s, so its agent was stopped."
        return None

    # How it ends.

    def _is_still_ours(self) -> bool:
        """Tell whether the seat was still ours when the process ended. It may have been told before us that it is not,
        and have ended for that: nobody died then.
        """
        try:
            self._chair.take(self._session)
        except Superseded:
            self._has_yielded = True
        except Unavailable:
            return True
        except GreenroomError as error:
            # The room was closed, or the role wished away, and that wish is still on its way to us.
            self._chronicle.rests(str(error))
        else:
            return True
        return False

    def _conclude(self, resident: Resident, ended: Exit | None, too_long: str | None) -> None:
        """Take down an end that nobody had wished: a pause where the process said so itself, else a death."""
        outcome = None if too_long else upkeep.pause_of(self._premises, resident, ended)
        if outcome is not None:
            log.warning("%s: %s", self._thread.name, outcome.detail)
            self._close(lambda: self._chronicle.paused(None, outcome))
            return
        detail = too_long or upkeep.last_words(self._premises, resident, ended)
        log.warning("%s: its process ended: %s", self._thread.name, detail)
        self._close(lambda: self._chronicle.died(detail, None, ended))

    def _hinder(self, detail: str) -> None:
        """Take down that nothing could be run, which nobody died of."""
        if self.is_seated:
            self._close(lambda: self._chronicle.hindered(detail))
        else:
            self._chronicle.rests(detail)

    def _close(self, tell: Callable[[], threading.Event]) -> None:
        """End the sitting by a fact, and wait for it: sitting down anew first would look like a takeover."""
        self._is_over = True
        told = tell()
        self._chair.is_taken = False
        while self._stop_reason is None and not told.wait(STEP_S):
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
