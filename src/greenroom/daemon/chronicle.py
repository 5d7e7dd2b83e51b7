"""What happens to one agent, taken down in its history and told to the server. Must not know how it is run.

The history is what the policy of restarts goes by; the facts are what people see, and what releases a task.
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
"""What the policy makes of a bad end."""


class Chronicle:
    """One sitting's part of an agent's story. Each method that tells gives what is set once the server knows.

    What is told without a run is about the sitting as a whole, and of that it ended there is one word only. `when_over`
    is called once that word cannot be lost any more.
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
        """Its command runs. Told a second time, by a daemon that carries it on, that changes nothing."""
        self._premises.outbox.put(self._fact("started", run))

    def ended(self, run: Run, outcome: Outcome) -> threading.Event:
        """A run is over, and nobody died of it."""
        facts = [self._exit(run, outcome.detail, outcome.exit, intended=True)]
        if outcome.kind in (DONE, DID_ITSELF):
            self._succeeded()
            if run.trial:
                # The run says so, and not the history: that may have been cleared by a daemon that was killed then.
                facts.append(self._fact("unparked", run, detail="it did its task on trial"))
        return self._put_end(run, *facts)

    def is_well(self) -> None:
        """It has lived for so long that nothing speaks against it any more."""
        if self.history.is_parked:
            # Before it is forgotten: nothing else knows of the trial.
            self._premises.outbox.put(self._fact("unparked", None, detail="it has lived through its trial"))
        self._succeeded()

    def is_over(self, detail: str, how: Exit | None = None) -> threading.Event:
        """The sitting is over as a whole, as was wished."""
        return self._put_end(None, self._exit(None, detail, how, intended=True))

    def died(self, detail: str, run: Run | None, how: Exit | None = None) -> threading.Event:
        """It ended, and nobody had wished that."""
        self._count(run, supervision.ended, detail)
        until = self._rests_until()
        # Who dies on trial waits for a person. Asked before the count, one that is parked by this death would be, too.
        on_trial = run.trial if run is not None else self.history.needs_person
        facts = [self._exit(run, detail, how, intended=False, until=until, trial=on_trial)]
        if self.history.rest == PARKED:
            facts.append(self._fact("parked", run, until=until, detail=self.history.reason))
        return self._put_end(run, *facts)

    def hindered(self, detail: str, run: Run | None = None) -> threading.Event:
        """It could not be run at all. Its task is given back, and has nothing to do with it."""
        self._count(None, supervision.hindered, detail)
        on_trial = run.trial if run is not None else self.history.is_parked
        facts = [self._exit(run, detail, None, intended=True)] if run is not None else []
        facts.append(self._exit(None, detail, None, intended=False, until=self._rests_until(), trial=on_trial))
        return self._put_end(run, *facts)

    def paused(self, run: Run | None, outcome: Outcome) -> threading.Event:
        """It said itself that it cannot go on before an instant, or before a person has seen to it."""
        now, wall = self._premises.clock.boottime(), self._premises.clock.wall()
        until = None if outcome.until is None else now + seconds_of(outcome.until) - wall
        self._note(supervision.paused(self.history, self._wish.generation, now, until, outcome.detail))
        return self._put_end(
            run,
            self._exit(run, outcome.detail, outcome.exit, intended=True),
            self._fact("paused", run, until=self._rests_until(), detail=outcome.detail),
        )

    def rests(self, reason: str) -> None:
        """It cannot sit there just now, for a reason that the server knows of."""
        self._note(self._after(supervision.hindered, reason))

    def yielded(self) -> None:
        """Somebody else has the role."""
        now, limits = self._premises.clock.boottime(), self._premises.limits
        self._note(supervision.yielded(self.history, self._wish.generation, now, limits))

    def has_counted(self, run: Run | None) -> bool:
        """Tell whether the history has that end of a run, or of a sitting without one, for a bad one already.

        A daemon that is killed then has written it down, and told nobody; the next one meets the same end again.
        """
        return self.history.last_end == self._id_of("exit", run)

    def _count(self, run: Run | None, end: End, detail: str) -> None:
        """Take down a bad end, once."""
        if not self.has_counted(run):
            self._note(msgspec.structs.replace(self._after(end, detail), last_end=self._id_of("exit", run)))

    def _after(self, end: End, detail: str) -> History:
        premises = self._premises
        now, fraction = premises.clock.boottime(), premises.entropy.fraction()
        return end(self.history, self._wish.generation, now, fraction, premises.limits, detail)

    def _succeeded(self) -> None:
        self._note(supervision.succeeded(self.history, self._wish.generation))

    def _note(self, history: History) -> None:
        self.history = history
        self._premises.histories.note(self._wish.room, self._wish.role, history)

    def _rests_until(self) -> str | None:
        """The instant until which it rests; None where that is for a person to say."""
        clock, until = self._premises.clock, self.history.rests_until
        return None if until is None else instant_of(clock.wall() + until - clock.boottime())

    def _put_end(self, run: Run | None, *facts: Fact) -> threading.Event:
        """Send on its way how a run, or a sitting without one, ended, and what follows from it: all of that or none.

        Then the run need not be remembered.
        """
        over = self._when_over if run is None else partial(self._premises.book.forget, run)
        return self._premises.outbox.put(*facts, when_safe=over)

    def _exit(self, run: Run | None, detail: str, how: Exit | None, **more: Any) -> Fact:
        code, signal = (how.code, how.signal) if how is not None else (None, None)
        return self._fact("exited", run, detail, code=code, signal=signal, **more)

    def _id_of(self, what: str, run: Run | None) -> str:
        return id_of(what, run) if run is not None else id_of_sitting(what, self._connection_id)

    def _fact(
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
    """As much of it as a fact holds, and nothing that no file can hold: the name of a directory need not be text."""
    return detail[:DETAIL_CHARACTERS_MAX].encode(errors="replace").decode()


def id_of(what: str, run: Run) -> str:
    """The id of a fact that can be true of a run only once, so that telling it twice changes nothing."""
    return f"{what}:{run.task}.{run.attempt}.{run.connection_id}"[:ID_CHARACTERS_MAX]


def id_of_sitting(what: str, connection_id: str) -> str:
    """The id of a fact that can be true of a sitting as a whole only once."""
    return f"{what}:{connection_id}"[:ID_CHARACTERS_MAX]
