"""The facts on their way to the server, kept on disk in their order. Must not know what they mean or who posts them."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from greenroom.daemon.records import put_aside, records_in, sweep
from greenroom.settings.private_file import write_record
from greenroom.wire.requests import Fact

log = logging.getLogger("greenroom.daemon.outbox")

DIGITS = 12


class Waiting:
    """A fact on its way. `told` is set when the server has it, or has refused it for good."""

    def __init__(self, number: int, fact: Fact, is_safe: bool = False) -> None:
        self.number = number
        self.fact = fact
        self.told = threading.Event()
        self.is_safe = is_safe
        self._then: list[Callable[[], None]] = []

    def when_safe(self, then: Callable[[], None]) -> None:
        """Call `then` once the fact can no longer be lost with this process: it is on disk, or told."""
        self._then.append(then)
        if self.is_safe:
            self.make_safe()

    def make_safe(self) -> None:
        self.is_safe = True
        while self._then:
            self._then.pop(0)()


class Outbox:
    """Facts that the server has not confirmed yet: one small file for each, in order, taken away when it is told.

    A disk that is full keeps nothing from being told: a fact waits in memory, and is written as soon as there is room.
    At most `waiting_max` wait. Then the oldest is let go, with a line in the log: a newer sitting of its role tells
    the server the same on its own.
    """

    def __init__(self, folder: Path, waiting_max: int) -> None:
        self._folder = folder
        self._waiting_max = waiting_max
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition(threading.RLock())
        self._is_full = False
        self._number = 0
        self._read_back()

    def put(self, fact: Fact, when_safe: Callable[[], None] = lambda: None) -> threading.Event:
        """Send a fact on its way; the event is set when it has arrived. One that waits already is not put again."""
        with self._changed:
            waiting = next((each for each in self._waiting if each.fact.id == fact.id), None)
            if waiting is None:
                self._number += 1
                waiting = Waiting(self._number, fact)
                self._waiting.append(waiting)
            waiting.when_safe(when_safe)
            self.write_down()
            self._let_go_of_what_is_too_much()
            self._changed.notify_all()
            return waiting.told

    def first(self, count: int) -> list[Fact]:
        """The facts that are to be told next, at most `count`."""
        with self._changed:
            return [waiting.fact for waiting in list(self._waiting)[:count]]

    def holds(self, id: str) -> bool:
        """Tell whether a fact of that id is on its way."""
        with self._changed:
            return any(waiting.fact.id == id for waiting in self._waiting)

    def settle(self, facts: Iterable[Fact]) -> None:
        """Take away what the server has, or has refused for good."""
        with self._changed:
            ids = {fact.id for fact in facts}
            for waiting in [each for each in self._waiting if each.fact.id in ids]:
                self._take_away(waiting)
            self._changed.notify_all()

    def write_down(self) -> None:
        """Write what only memory holds, the oldest first, as far as the disk takes it."""
        with self._changed:
            for waiting in [each for each in self._waiting if not each.is_safe]:
                try:
                    write_record(self._file(waiting.number), waiting.fact)
                except OSError as error:
                    if not self._is_full:
                        log.error("facts wait in memory, since they cannot be written in %s: %s", self._folder, error)
                    self._is_full = True
                    return
                waiting.make_safe()
            self._is_full = False

    def wait(self, until: Callable[[int], bool], timeout_s: float | None = None) -> int:
        """Wait until `until` holds of the number of facts that wait; that number."""
        with self._changed:
            self._changed.wait_for(lambda: until(len(self._waiting)), timeout_s)
            return len(self._waiting)

    def wake(self) -> None:
        """Let whoever waits look again."""
        with self._changed:
            self._changed.notify_all()

    def _let_go_of_what_is_too_much(self) -> None:
        while len(self._waiting) > self._waiting_max:
            log.error("too many facts wait for the server; the oldest is let go: %s", self._waiting[0].fact)
            self._take_away(self._waiting[0])

    def _take_away(self, waiting: Waiting) -> None:
        self._waiting.remove(waiting)
        try:
            self._file(waiting.number).unlink(missing_ok=True)
        except OSError as error:
            log.error("%s stays and is told again at the next start, which changes nothing: %s", waiting.fact.id, error)
        waiting.make_safe()
        waiting.told.set()

    def _read_back(self) -> None:
        """Take up what an earlier daemon could not tell."""
        sweep(self._folder)
        for path, fact in records_in(self._folder, Fact):
            try:
                number = int(path.stem)
            except ValueError as error:
                put_aside(path, error)
                continue
            self._waiting.append(Waiting(number, fact, is_safe=True))
        # Beyond whatever lies there, also what cannot be read now: nothing is to be written over it.
        numbers = (int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())
        self._number = max(numbers, default=0)
        self._let_go_of_what_is_too_much()

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:0{DIGITS}}.json"
