"""Keeps one resident process alive in a role.

A runner is one start of the process: both end together, and the next start gets a new runner. The process claims its
tasks with the connection id of the runner's participant; the daemon's heartbeats keep that participant present.
Options: `task_timeout_s` of the agent spec, `restart_reset_s`, `stop_grace_s`. Limits: the task of the process, and so
its timeout, is known only from the answers to heartbeats.
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

TAKEN_AWAY = "the role was taken away before the process ended"


class ResidentSeat(Seat):
    """Keeps its process running until it is stopped or superseded, or the process ends.

    `adopted` is a process that an earlier daemon left: the runner adopts it with its participant.
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
        adopted_id = adopted.connection_id if adopted is not None else None
        super().__init__(premises, wish, history, on_end, adopted_id, lambda: book.forget(self.connection_id))
        self._book = book
        self._adopted = adopted
        self._task: TaskRef | None = None
        self._task_since = 0.0

    def drain(self) -> None:
        """Do nothing: the server gives it no more tasks, and the process stays until the agent spec changes."""

    def confirm(self, task: TaskRef | None, asked_at: float, notes: Sequence[str] = ()) -> None:
        """Remember which task the process holds, and since when the heartbeats name it.

        The process gets notes, and learns that a task was taken away, with its own next call.
        """
        if task != self._task:
            self._task, self._task_since = task, self._premises.clock.monotonic()

    # The thread.

    def _live(self) -> None:
        resident = self._adopted
        if resident is not None:
            group = Group.adopt(Path(resident.folder), resident.marks)
        else:
            resident, group = self._join_and_start()
        if resident is None:
            return
        if group is None:
            self._chronicle.is_over("The command was never started.")
            return
        self._chronicle.began(None)
        try:
            too_long = self._watch(group, resident.began_at)
        finally:
            ended = group.stop(self._premises.limits.stop_grace_s)  # ends the descendants of the process too
        # Counted by an earlier daemon: then it was a failure, even if the agent is to stop now.
        is_counted = self._chronicle.has_counted(None)
        if ended is not None and ended.refused is not None:
            self._hinder(f"The command was {ended}.")
        elif not is_counted and (self._stop_reason is not None or not self._still_holds_role()):
            self._chronicle.is_over(self._stop_reason or TAKEN_AWAY, ended)
        else:
            self._record_unintended_end(resident, ended, too_long)

    def _join_and_start(self) -> tuple[Resident | None, Group | None]:
        """Join and start the process; (None, None) when the runner was stopped before."""
        if self._insist(lambda: self._sit_down(self._session)) is None:
            return None, None
        recipe = self._check()
        token = self._insist(lambda: self._session.room_token(self.room, self.role))
        if token is None:
            return None, None
        resident = upkeep.prepare(self._premises, self._book, self.wish, self.connection_id)
        return resident, upkeep.start(self._premises, resident, recipe, token.token)

    def _watch(self, group: Group, began_at: float) -> str | None:
        """Wait until the process has ended or has to be stopped; the reason if its task took too long, else None."""
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

    # The end.

    def _still_holds_role(self) -> bool:
        """Ask the server whether this participant still had the role when the process ended.

        The process may have been superseded, and have ended for that, before the daemon learned of it: no failure.
        """
        try:
            self._sit_down(self._session)
        except Superseded:
            self._has_yielded = True
        except Unavailable:
            return True
        except GreenroomError as error:
            # The room was closed, or the agent spec changed, and this daemon has not read that yet.
            self._chronicle.rests(str(error))
        else:
            return True
        return False

    def _record_unintended_end(self, resident: Resident, ended: Exit | None, too_long: str | None) -> None:
        """Record and report an unintended end: a pause if the process itself reported one, else a failure."""
        premises, result = self._premises, upkeep.said_by(resident)
        outcome = None if too_long else pause_of(result, ended, premises.clock.wall(), premises.limits)
        if outcome is not None:
            log.warning("agent paused: %s: %s", self._thread.name, outcome.detail)
            self._close(lambda: self._chronicle.paused(None, outcome))
            return
        detail = too_long or upkeep.last_words(premises, resident, result, ended)
        log.warning("process ended: %s: %s", self._thread.name, detail)
        self._close(lambda: self._chronicle.died(detail, None, ended))
