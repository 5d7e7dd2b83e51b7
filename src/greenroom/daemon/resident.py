"""A seat in which a process is kept alive. Must not know which tasks that process asks for, or how it works.

It is one start of the process: whatever ends either ends both, and the next start is a new seat's work. The process
asks for its tasks under the seat's connection; that it is present is told by the daemon's beats.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from greenroom.client.outcome import pause_of
from greenroom.daemon import upkeep
from greenroom.daemon.premises import Premises
from greenroom.daemon.residents import Resident, ResidentBook
from greenroom.daemon.seat import LOOK_EVERY_S, Seat
from greenroom.domain.errors import GreenroomError, Superseded, Unavailable
from greenroom.domain.supervision import History
from greenroom.process.group import Exit, Group
from greenroom.wire.replies import TaskRef, Wish

log = logging.getLogger("greenroom.daemon.resident")

TAKEN_AWAY = "the seat was taken away before its process ended"


class ResidentSeat(Seat):
    """Keeps its process until it is stopped, superseded, or the process ends.

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
        stayed = adopted.connection_id if adopted is not None else None
        super().__init__(premises, wish, history, on_end, stayed, lambda: book.forget(self.connection_id))
        self._book = book
        self._adopted = adopted
        self._task: TaskRef | None = None
        self._task_since = 0.0

    def drain(self) -> None:
        """The server gives it no more tasks; the process stays until the wish says otherwise."""

    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Note which task the server counts as this seat's, and since when it does, in sight of us.

        Notes, and that a task was taken away, the process hears with its next call, like any agent that beats not.
        """
        if task != self._task:
            self._task, self._task_since = task, self._premises.clock.monotonic()

    # The thread.

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
        is_counted = self._chronicle.has_counted(None)  # by an earlier daemon; a death then, whoever wishes its end now
        if ended is not None and ended.refused is not None:
            self._hinder(f"The command was {ended}.")
        elif not is_counted and (self._stop_reason is not None or not self._is_still_ours()):
            self._chronicle.is_over(self._stop_reason or TAKEN_AWAY, ended)
        else:
            self._conclude(resident, ended, too_long)

    def _begin(self) -> tuple[Resident | None, Group | None]:
        """Sit down and start the process; nothing where the seat was stopped meanwhile."""
        if self._insist(lambda: self._sit_down(self._session)) is None:
            return None, None
        recipe = self._check()
        token = self._insist(lambda: self._session.room_token(self.room, self.role))
        if token is None:
            return None, None
        resident = upkeep.prepare(self._premises, self._book, self.wish, self.connection_id)
        return resident, upkeep.start(self._premises, resident, recipe, token.token)

    def _watch(self, group: Group, began_at: float) -> str | None:
        """Wait until the process has ended, or has to be; why, where its task takes too long."""
        premises, limit_s = self._premises, self.wish.task_timeout_s
        well_at = premises.clock.monotonic() + premises.limits.restart_reset_s
        well_at -= max(0.0, premises.clock.wall() - began_at)
        is_well = False
        while group.wait(LOOK_EVERY_S) is None and self._stop_reason is None:
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
            self._sit_down(self._session)
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
        premises, said = self._premises, upkeep.said_by(resident)
        outcome = None if too_long else pause_of(said, ended, premises.clock.wall(), premises.limits)
        if outcome is not None:
            log.warning("%s: %s", self._thread.name, outcome.detail)
            self._close(lambda: self._chronicle.paused(None, outcome))
            return
        detail = too_long or upkeep.last_words(premises, resident, said, ended)
        log.warning("%s: its process ended: %s", self._thread.name, detail)
        self._close(lambda: self._chronicle.died(detail, None, ended))
