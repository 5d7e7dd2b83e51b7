"""The outbox: reports that the server does not have yet, kept on disk in their order.

Option: at most `facts_waiting_max` reports are kept. Limits: when it is full, the oldest report is dropped; reports
that only memory holds, since the disk is full, are lost with the process.
"""

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
    """Reports that belong together. `told` is set when the server has all of them, or has rejected them for good."""

    def __init__(self, number: int, facts: Sequence[Fact], is_safe: bool = False) -> None:
        self.number = number
        self.untold = {fact.id: fact for fact in facts}
        self.told = threading.Event()
        self.is_safe = is_safe
        self._callbacks: list[Callable[[], None]] = []

    def when_safe(self, then: Callable[[], None]) -> None:
        """Call `then` once they cannot be lost with this process any more: they are on disk, or sent."""
        self._callbacks.append(then)
        if self.is_safe:
            self.make_safe()

    def make_safe(self) -> None:
        self.is_safe = True
        while self._callbacks:
            self._callbacks.pop(0)()


class Outbox:
    """Reports that the server has not confirmed yet, in order; those that belong together are in one file.

    A daemon that is killed leaves all reports of a file or none. A file is removed when its last report is sent.
    On a full disk, reports are kept in memory, sent all the same, and written as soon as there is space.
    At most `waiting_max` reports are kept. Beyond that the oldest is dropped and logged: the server learns of the end
    of a participant, too, when the next one of its role joins.
    """

    def __init__(self, folder: Path, waiting_max: int) -> None:
        self._folder = folder
        self._waiting_max = waiting_max
        self._waiting: dict[str, Waiting] = {}  # by the id of each report, in the order of sending
        self._changed = threading.Condition(threading.RLock())
        self._has_logged_failure = False
        self._number = 0
        self._read_folder()

    def put(self, *facts: Fact, when_safe: Callable[[], None] = lambda: None) -> threading.Event:
        """Add reports that belong together; the returned event is set when the server has them.

        A report that is already in the outbox is not added again. `when_safe` is called once the reports cannot be lost
        with this process.
        """
        with self._changed:
            new = self._filter_new(facts)
            if new:
                self._number += 1
                waiting = self._add(Waiting(self._number, new))
            else:
                waiting = self._waiting[facts[-1].id]
            waiting.when_safe(when_safe)
            self.write_down()
            self._drop_excess()
            self._changed.notify_all()
            return waiting.told

    def first(self, count: int) -> list[Fact]:
        """The oldest reports, at most `count`."""
        with self._changed:
            return [waiting.untold[id] for id, waiting in islice(self._waiting.items(), count)]

    def holds(self, id: str) -> bool:
        """Whether a report with that id is in the outbox."""
        with self._changed:
            return id in self._waiting

    def settle(self, facts: Iterable[Fact]) -> None:
        """Remove reports that the server has, or has rejected for good.

        Of reports that belong together, some may be removed before the others. If the daemon is killed then, the next
        one sends all of them again, which is harmless: the server recognises each by its id.
        """
        with self._changed:
            for fact in facts:
                if fact.id in self._waiting:
                    self._remove(fact.id)
            self._changed.notify_all()

    def write_down(self) -> None:
        """Write the reports that only memory holds, the oldest first, until a write fails."""
        with self._changed:
            for waiting in dict.fromkeys(entry for entry in self._waiting.values() if not entry.is_safe):
                try:
                    write_record(self._file(waiting.number), letter_of(*waiting.untold.values()))
                except OSError as error:
                    if not self._has_logged_failure:
                        log.error("outbox not writable: %s: %s; reports are kept in memory", self._folder, error)
                    self._has_logged_failure = True
                    return
                waiting.make_safe()
            self._has_logged_failure = False

    def wait(self, until: Callable[[int], bool], timeout_s: float | None = None) -> int:
        """Wait until `until` is true for the number of reports in the outbox, at most `timeout_s`; that number."""
        with self._changed:
            self._changed.wait_for(lambda: until(len(self._waiting)), timeout_s)
            return len(self._waiting)

    def wake(self) -> None:
        """Make `wait` check its condition again."""
        with self._changed:
            self._changed.notify_all()

    def _filter_new(self, facts: Iterable[Fact]) -> list[Fact]:
        return [fact for fact in facts if fact.id not in self._waiting]

    def _add(self, waiting: Waiting) -> Waiting:
        self._waiting |= dict.fromkeys(waiting.untold, waiting)
        return waiting

    def _drop_excess(self) -> None:
        while len(self._waiting) > self._waiting_max:
            id, waiting = next(iter(self._waiting.items()))
            log.error("outbox full (%d): dropped the oldest report: %s", self._waiting_max, waiting.untold[id])
            self._remove(id)

    def _remove(self, id: str) -> None:
        waiting = self._waiting.pop(id)
        del waiting.untold[id]
        if not waiting.untold:
            forget(self._file(waiting.number))
            waiting.make_safe()
            waiting.told.set()

    def _read_folder(self) -> None:
        """Read the reports that an earlier daemon could not send."""
        sweep(self._folder)
        for path, letter in records_in(self._folder, Letter):
            try:
                number = int(path.stem)
            except ValueError as error:
                put_aside(path, error)
                continue
            new = self._filter_new(letter.facts)
            if new:
                self._add(Waiting(number, new, is_safe=True))
            else:
                forget(path)  # An earlier file has all of it; this one could not be removed when it was sent.
        # Above the numbers of all files, even of those that cannot be read now: none may be overwritten.
        numbers = (int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())
        self._number = max(numbers, default=0)
        self._drop_excess()

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:0{DIGITS}}.json"
