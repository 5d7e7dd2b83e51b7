"""Makes true what is wished for this machine: compares wishes with seats and acts. Must not know how a seat works.

It is the only one that starts or stops an agent here. What to do is decided by `domain.supervision`.
"""

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from greenroom.clock import Clock
from greenroom.domain import supervision
from greenroom.domain.role import RUNNING
from greenroom.domain.supervision import History
from greenroom.wire.replies import Wish, Wishes

log = logging.getLogger("greenroom.daemon.supervisor")

LOOK_EVERY_S = 60.0

Key = tuple[str, str]


class Seat(Protocol):
    """A role that this daemon sits in, as the supervisor sees it."""

    wish: Wish
    history: History

    def start(self) -> None: ...
    def stop(self, reason: str) -> None: ...


Held = TypeVar("Held", bound=Seat)


class Supervisor(Generic[Held]):
    """Wishes on one side, seats on the other. `make_seat` is given what the seat calls when it has ended."""

    def __init__(
        self, make_seat: Callable[[Wish, History, Callable[[], None]], Held], clock: Clock, on_death: Callable[[], None]
    ) -> None:
        self._make_seat = make_seat
        self._clock = clock
        self._on_death = on_death
        self._wishes: dict[Key, Wish] = {}
        self._seats: dict[Key, Held] = {}
        self._histories: dict[Key, History] = {}
        self._asked_to_stop: set[Key] = set()
        self._told: dict[Key, str] = {}
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take_wishes(self, wishes: Wishes) -> None:
        """Take the whole of what is wished now, from any thread."""
        with self._changed:
            self._wishes = {(wish.room, wish.role): wish for wish in wishes.wishes}
            self._histories = {key: history for key, history in self._histories.items() if key in self._wishes}
            self._told = {key: reason for key, reason in self._told.items() if key in self._wishes}
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
        with self._changed:
            if self._is_stopping:
                return LOOK_EVERY_S
            now = self._clock.boottime()
            keys = list({**self._wishes, **self._seats})
            return min([LOOK_EVERY_S, *(self._settle(key, now) for key in keys)])

    def _settle(self, key: Key, now: float) -> float:
        """Make one role what it should be; the seconds after which to look at it again."""
        wish, seat = self._wishes.get(key), self._seats.get(key)
        desired = wish is not None and wish.desired == RUNNING
        generation = wish.generation if wish is not None else 0
        history = self._histories.get(key, History())
        seated = seat.wish.generation if seat is not None else None
        step = supervision.decide(desired, generation, seated, history, now)
        if seat is None or step.action == supervision.STOP:
            wished = wish or (seat.wish if seat is not None else None)
            self._tell(key, wished.room_name if wished is not None else key[0], step.reason)
        if step.action == supervision.SIT:
            assert wish is not None
            self._sit(key, wish, supervision.under(history, generation))
        elif step.action == supervision.STOP and key not in self._asked_to_stop:
            assert seat is not None
            self._asked_to_stop.add(key)
            seat.stop(step.reason)
        return LOOK_EVERY_S if step.until is None else max(0.0, step.until - now)

    def _sit(self, key: Key, wish: Wish, history: History) -> None:
        def end() -> None:
            with self._changed:
                self._histories[key] = self._seats.pop(key).history
                self._asked_to_stop.discard(key)
                self._changed.notify_all()

        seat = self._seats[key] = self._make_seat(wish, history, end)
        seat.start()

    def _tell(self, key: Key, room_name: str, reason: str) -> None:
        """Say once why a role is as it is."""
        if self._told.get(key) != reason:
            self._told[key] = reason
            log.info("%s/%s: %s", room_name, key[1], reason)

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                wait_s = self.step()
                with self._changed:
                    if not self._is_stopping:
                        self._changed.wait(wait_s)
        finally:
            if not self._is_stopping:
                self._on_death()
