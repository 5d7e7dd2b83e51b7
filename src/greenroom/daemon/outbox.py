"""The facts on their way to the server, kept on disk in their order. Must not know what they mean or who posts them."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from greenroom.daemon.letter import Letter, letter_of
from greenroom.daemon.records import forget, put_aside, records_in, sweep
from greenroom.settings.private_file import write_record
from greenroom.wire.requests import Fact

log = logging.getLogger("greenroom.daemon.outbox")

DIGITS = 12


class Waiting:
    """Facts on their way that belong together. `told` is set when the server has them, or has refused them for good."""

    def __init__(self, number: int, facts: Sequence[Fact], is_safe: bool = False) -> None:
        self.number = number
        self.untold = {fact.id: fact for fact in facts}
        self.told = threading.Event()
        self.is_safe = is_safe
        self._then: list[Callable[[], None]] = []

    def when_safe(self, then: Callable[[], None]) -> None:
        """Call `then` once they can no longer be lost with this process: they are on disk, or told."""
        self._then.append(then)
        if self.is_safe:
            self.make_safe()

    def make_safe(self) -> None:
        self.is_safe = True
        while self._then:
            self._then.pop(0)()


class Outbox:
    """Facts that the server has not confirmed yet, in order: one small file for those that belong together.

    A daemon that is killed leaves all of a file's facts or none, and the file goes when the last of them is told.
    A disk that is full keeps nothing from being told: a fact waits in memory, and is written as soon as there is room.
    At most `waiting_max` wait. Then the oldest is let go, with a line in the log: a newer sitting of its role tells
    the server the same on its own.
    """

    def __init__(self, folder: Path, waiting_max: int) -> None:
        self._folder = folder
        self._waiting_max = waiting_max
        self._waiting: dict[str, Waiting] = {}  # by the id of each fact, in the order in which they are told
        self._changed = threading.Condition(threading.RLock())
        self._is_full = False
        self._number = 0
        self._read_back()

    def put(self, *facts: Fact, when_safe: Callable[[], None] = lambda: None) -> threading.Event:
        """Send facts that belong together on their way; the event is set when they have arrived.

        One that waits already is not put again.
        """
        with self._changed:
            new = self._new_among(facts)
            if new:
                self._number += 1
                waiting = self._add(Waiting(self._number, new))
            else:
                waiting = self._waiting[facts[-1].id]
            waiting.when_safe(when_safe)
            self.write_down()
            self._let_go_of_what_is_too_much()
            self._changed.notify_all()
            return waiting.told

    def first(self, count: int) -> list[Fact]:
        """The facts that are to be told next, at most `count`."""
        with self._changed:
            return [waiting.untold[id] for id, waiting in islice(self._waiting.items(), count)]

    def holds(self, id: str) -> bool:
        """Tell whether a fact of that id is on its way."""
        with self._changed:
            return id in self._waiting

    def settle(self, facts: Iterable[Fact]) -> None:
        """Take away what the server has, or has refused for good.

        Of facts that belong together one may be settled before the others. A daemon that is killed then has all of
        them told again, which is harmless: the server knows each by its id.
        """
        with self._changed:
            for fact in facts:
                if fact.id in self._waiting:
                    self._take_away(fact.id)
            self._changed.notify_all()

    def write_down(self) -> None:
        """Write what only memory holds, the oldest first, as far as the disk takes it."""
        with self._changed:
            for waiting in dict.fromkeys(each for each in self._waiting.values() if not each.is_safe):
                try:
                    write_record(self._file(waiting.number), letter_of(*waiting.untold.values()))
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

    def _new_among(self, facts: Iterable[Fact]) -> list[Fact]:
        return [fact for fact in facts if fact.id not in self._waiting]

    def _add(self, waiting: Waiting) -> Waiting:
        self._waiting |= dict.fromkeys(waiting.untold, waiting)
        return waiting

    def _let_go_of_what_is_too_much(self) -> None:
        while len(self._waiting) > self._waiting_max:
            id, waiting = next(iter(self._waiting.items()))
            log.error("too many facts wait for the server; the oldest is let go: %s", waiting.untold[id])
            self._take_away(id)

    def _take_away(self, id: str) -> None:
        waiting = self._waiting.pop(id)
        del waiting.untold[id]
        if not waiting.untold:
            forget(self._file(waiting.number))
            waiting.make_safe()
            waiting.told.set()

    def _read_back(self) -> None:
        """Take up what an earlier daemon could not tell."""
        sweep(self._folder)
        for path, letter in records_in(self._folder, Letter):
            try:
                number = int(path.stem)
            except ValueError as error:
                put_aside(path, error)
                continue
            new = self._new_among(letter.facts)
            if new:
                self._add(Waiting(number, new, is_safe=True))
            else:
                forget(path)  # An earlier file has all of it; this one could not be taken away when it was told.
        # Beyond whatever lies there, also what cannot be read now: nothing is to be written over it.
        numbers = (int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())
        self._number = max(numbers, default=0)
        self._let_go_of_what_is_too_much()

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:0{DIGITS}}.json"
