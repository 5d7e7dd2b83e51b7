"""Records what happens to one agent in its restart state, and puts the reports of it into the outbox.

The restart policy decides by the restart state. The reports are what users see, and what releases a task.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import msgspec

from greenroom.client.outcome import DID_ITSELF, DONE, Outcome
from greenroom.clock import instant_of, seconds_of
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import Run
from greenroom.domain import supervision
from greenroom.domain.reliability import Reliability
from greenroom.domain.supervision import PARKED, History
from greenroom.process.group import Exit
from greenroom.wire.replies import Wish
from greenroom.wire.requests import Fact

ID_CHARACTERS_MAX = 128
DETAIL_CHARACTERS_MAX = 8 * 1024

End = Callable[[History, int, float, float, Reliability, str], History]
"""A transition of the restart policy: history, generation, now, fraction, limits and reason to the next history."""


class Chronicle:
    """Reports for one participant. A method that returns an event sets it when the server has the report.

    A report without a run is about the participant as a whole, which ends by one report only. `when_over` is called
    once that report cannot be lost any more.
    """

    def __init__(
        self,
        premises: Premises,
        wish: Wish,
        connection_id: str,
        history: History,
        when_over: Callable[[], None] = lambda: None,
    ) -> None:
        self.history = history
        self._when_over = when_over
        self._premises = premises
        self._wish = wish
        self._connection_id = connection_id

    def began(self, run: Run | None) -> None:
        """Report that its command runs. The same report of a daemon that adopts the run changes nothing."""
        self._premises.outbox.put(self._make_report("started", run))

    def ended(self, run: Run, outcome: Outcome) -> threading.Event:
        """Report the end of a run that is no failure."""
        facts = [self._exit_report(run, outcome.detail, outcome.exit, intended=True)]
        if outcome.kind in (DONE, DID_ITSELF):
            self._record_success()
            if run.trial:
                # The run says so, not the history: a daemon that was killed here may have cleared the history.
                facts.append(self._make_report("unparked", run, detail="the probe run did its task"))
        return self._report_end(run, *facts)

    def is_well(self) -> None:
        """Record that it has run for `restart_reset_s`, which counts as recovered."""
        if self.history.is_parked:
            # Before the history is cleared: nothing else says that this was a probe run.
            self._premises.outbox.put(self._make_report("unparked", None, detail="the probe run lasted long enough"))
        self._record_success()

    def is_over(self, detail: str, exit: Exit | None = None) -> threading.Event:
        """Report that the participant has ended as intended."""
        return self._report_end(None, self._exit_report(None, detail, exit, intended=True))

    def died(self, detail: str, run: Run | None, exit: Exit | None = None) -> threading.Event:
        """Record and report a failure: an end that was not intended."""
        self._count_once(run, supervision.ended, detail)
        until = self._hold_until()
        # A failed probe run waits for a user; a failure that starts a crash loop does not. So read it after the count.
        on_trial = run.trial if run is not None else self.history.needs_person
        facts = [self._exit_report(run, detail, exit, intended=False, until=until, trial=on_trial)]
        if self.history.rest == PARKED:
            facts.append(self._make_report("parked", run, until=until, detail=self.history.reason))
        return self._report_end(run, *facts)

    def hindered(self, detail: str, run: Run | None = None) -> threading.Event:
        """Record and report that it could not be started at all. Its task is released, without a failure."""
        self._count_once(None, supervision.hindered, detail)
        on_trial = run.trial if run is not None else self.history.is_parked
        facts = [self._exit_report(run, detail, None, intended=True)] if run is not None else []
        facts.append(self._exit_report(None, detail, None, intended=False, until=self._hold_until(), trial=on_trial))
        return self._report_end(run, *facts)

    def paused(self, run: Run | None, outcome: Outcome) -> threading.Event:
        """Record and report the pause that the agent itself asked for: until an instant, or until a user acts."""
        now, wall = self._premises.clock.boottime(), self._premises.clock.wall()
        until = None if outcome.until is None else now + seconds_of(outcome.until) - wall
        self._record_history(supervision.paused(self.history, self._wish.generation, now, until, outcome.detail))
        return self._report_end(
            run,
            self._exit_report(run, outcome.detail, outcome.exit, intended=True),
            self._make_report("paused", run, until=self._hold_until(), detail=outcome.detail),
        )

    def rests(self, reason: str) -> None:
        """Record that it cannot hold the role now, for a reason that the server knows. Nothing is reported."""
        self._record_history(self._next_history(supervision.hindered, reason))

    def yielded(self) -> None:
        """Record that another participant has the role. Nothing is reported."""
        now, limits = self._premises.clock.boottime(), self._premises.limits
        self._record_history(supervision.yielded(self.history, self._wish.generation, now, limits))

    def has_counted(self, run: Run | None) -> bool:
        """Whether the history has already counted this end of a run, or of the participant if `run` is None.

        A daemon may be killed after it has written the history and before the report is in the outbox; the next one
        handles the same end again.
        """
        return self.history.last_end == self._id_of("exit", run)

    def _count_once(self, run: Run | None, end: End, detail: str) -> None:
        """Record an unintended end, once."""
        if not self.has_counted(run):
            self._record_history(
                msgspec.structs.replace(self._next_history(end, detail), last_end=self._id_of("exit", run))
            )

    def _next_history(self, end: End, detail: str) -> History:
        premises = self._premises
        now, fraction = premises.clock.boottime(), premises.entropy.fraction()
        return end(self.history, self._wish.generation, now, fraction, premises.limits, detail)

    def _record_success(self) -> None:
        self._record_history(supervision.succeeded(self.history, self._wish.generation))

    def _record_history(self, history: History) -> None:
        self.history = history
        self._premises.histories.note(self._wish.room, self._wish.role, history)

    def _hold_until(self) -> str | None:
        """The instant (ISO) until which the restart is held; None if it waits for a user."""
        clock, until = self._premises.clock, self.history.rests_until
        return None if until is None else instant_of(clock.wall() + until - clock.boottime())

    def _report_end(self, run: Run | None, *facts: Fact) -> threading.Event:
        """Add the reports about the end of a run, or of the participant if `run` is None, to the outbox together.

        Once they are safe, the record of the run is removed.
        """
        on_safe = self._when_over if run is None else partial(self._premises.book.forget, run)
        return self._premises.outbox.put(*facts, when_safe=on_safe)

    def _exit_report(self, run: Run | None, detail: str, exit: Exit | None, **more: Any) -> Fact:
        code, signal = (exit.code, exit.signal) if exit is not None else (None, None)
        return self._make_report("exited", run, detail, code=code, signal=signal, **more)

    def _id_of(self, what: str, run: Run | None) -> str:
        return id_of(what, run) if run is not None else id_of_sitting(what, self._connection_id)

    def _make_report(
        self,
        kind: Literal["started", "exited", "parked", "paused", "unparked"],
        run: Run | None,
        detail: str | None = None,
        **more: Any,
    ) -> Fact:
        return Fact(
            id=self._id_of("exit" if kind == "exited" else kind, run),
            kind=kind,
            room=self._wish.room,
            role=self._wish.role,
            connection_id=self._connection_id,
            task=run.task if run is not None else None,
            attempt=run.attempt if run is not None else None,
            generation=self._wish.generation,
            at=instant_of(self._premises.clock.wall()),
            detail=None if detail is None else told_of(detail),
            **more,
        )


def told_of(detail: str) -> str:
    """Cut a detail to the length of a report, and replace what is not valid text, as a directory's name may hold."""
    return detail[:DETAIL_CHARACTERS_MAX].encode(errors="replace").decode()


def id_of(what: str, run: Run) -> str:
    """The id of a report that a run can have only once, so that sending it twice changes nothing."""
    return f"{what}:{run.task}.{run.attempt}.{run.connection_id}"[:ID_CHARACTERS_MAX]


def id_of_sitting(what: str, connection_id: str) -> str:
    """The id of a report that a participant as a whole can have only once."""
    return f"{what}:{connection_id}"[:ID_CHARACTERS_MAX]
