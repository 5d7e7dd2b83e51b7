"""Makes true what is wished for this machine: compares wishes with seats and acts. Must not know how a seat works.

It is the only one that starts or stops an agent here, and before it was told what is wished it does neither. What to do
is decided by `domain.supervision`.
"""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, Protocol, TypeVar

from greenroom.clock import Clock, instant_of
from greenroom.daemon.histories import Histories, Key
from greenroom.domain import supervision
from greenroom.domain.role import RUNNING
from greenroom.domain.supervision import History, Step
from greenroom.wire.replies import Wish, Wishes

log = logging.getLogger("greenroom.daemon.supervisor")

LOOK_EVERY_S = 60.0


class Seat(Protocol):
    """A role that this daemon sits in, as the supervisor sees it. What happens to it, it notes in the histories."""

    wish: Wish

    def start(self) -> None: ...
    def stop(self, reason: str) -> None: ...


Held = TypeVar("Held", bound=Seat)


class Supervisor(Generic[Held]):
    """Wishes on one side, seats on the other. `make_seat` is given what the seat calls when it has ended."""

    def __init__(
        self,
        make_seat: Callable[[Wish, History, Callable[[], None]], Held],
        histories: Histories,
        clock: Clock,
        on_death: Callable[[], None],
    ) -> None:
        self._make_seat = make_seat
        self._histories = histories
        self._clock = clock
        self._on_death = on_death
        self._wishes: dict[Key, Wish] | None = None
        self._seats: dict[Key, Held] = {}
        self._asked_to_stop: set[Key] = set()
        self._told: dict[Key, Step] = {}
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def adopt(self, seat: Held) -> None:
        """Take over a seat that was made from what an earlier daemon left running, before the first wishes come.

        Whoever made it starts it, and has it call `take_end` when it has ended.
        """
        with self._changed:
            self._seats[seat.wish.room, seat.wish.role] = seat

    def take_wishes(self, wishes: Wishes) -> None:
        """Take the whole of what is wished now, from any thread."""
        with self._changed:
            self._wishes = {(wish.room, wish.role): wish for wish in wishes.wishes}
            self._histories.keep_only(self._wishes.keys() | self._seats.keys())
            self._told = {key: step for key, step in self._told.items() if key in self._wishes}
            self._changed.notify_all()

    def take_end(self, room: str, role: str) -> None:
        """Take down that the seat in that role has ended, from any thread."""
        with self._changed:
            del self._seats[room, role]
            self._asked_to_stop.discard((room, role))
            if self._wishes is not None:
                self._histories.keep_only(self._wishes.keys() | self._seats.keys())
            self._changed.notify_all()

    def seats(self) -> list[Held]:
        """The seats that are taken now."""
        with self._changed:
            return list(self._seats.values())

    def stop(self, reason: str, timeout_s: float) -> bool:
        """Stop every agent and sit down no more; True when all have ended in time."""
        with self._changed:
            self._is_stopping = True
            seats = list(self._seats.values())
            self._changed.notify_all()
        for seat in seats:
            seat.stop(reason)
        with self._changed:
            return self._changed.wait_for(lambda: not self._seats, timeout_s)

    def step(self) -> float:
        """Do what is to be done now; the seconds after which to look again, if nothing changes before."""
        self._histories.keep_current()
        with self._changed:
            if self._is_stopping or self._wishes is None:
                return LOOK_EVERY_S
            now = self._clock.boottime()
            keys = list({**self._wishes, **self._seats})
            return min([LOOK_EVERY_S, *(self._settle(key, self._wishes.get(key), now) for key in keys)])

    def _settle(self, key: Key, wish: Wish | None, now: float) -> float:
        """Make one role what it should be; the seconds after which to look at it again."""
        seat = self._seats.get(key)
        desired = wish is not None and wish.desired == RUNNING
        generation = wish.generation if wish is not None else 0
        history = self._histories.of(*key)
        seated = seat.wish.generation if seat is not None else None
        step = supervision.decide(desired, generation, seated, history, now)
        if seat is None or step.action == supervision.STOP:
            wished = wish or (seat.wish if seat is not None else None)
            self._tell(key, wished.room_name if wished is not None else key[0], step, now)
        if step.action == supervision.SIT:
            assert wish is not None
            self._sit(key, wish, supervision.under(history, generation))
        elif step.action == supervision.STOP and key not in self._asked_to_stop:
            assert seat is not None
            self._asked_to_stop.add(key)
            seat.stop(step.reason)
        return LOOK_EVERY_S if step.until is None else max(0.0, step.until - now)

    def _sit(self, key: Key, wish: Wish, history: History) -> None:
        seat = self._seats[key] = self._make_seat(wish, history, partial(self.take_end, *key))
        seat.start()

    def _tell(self, key: Key, room_name: str, step: Step, now: float) -> None:
        """Say once why a role is as it is."""
        if self._told.get(key) != step:
            self._told[key] = step
            until = "" if step.until is None else f" (until {instant_of(self._clock.wall() + step.until - now)})"
            log.info("%s/%s: %s%s", room_name, key[1], step.reason, until)

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                # Looked and waited under one lock: what changes in between would wake nobody.
                with self._changed:
                    wait_s = self.step()
                    if not self._is_stopping:
                        self._changed.wait(wait_s)
        finally:
            if not self._is_stopping:
                self._on_death()
