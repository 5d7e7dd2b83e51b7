"""The outbox: reports that the server does not have yet, kept on disk in their order.

Reports that belong together are one entry, in one file.
Option: at most `reports_waiting_max` reports are kept. Limits: when it is full, the oldest report is dropped; reports
that only memory holds, since the disk is full, are lost with the process.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from greenroom.daemon.record_files import read_valid, remove_drafts, remove_record, set_aside
from greenroom.settings.files import write_record
from greenroom.wire.requests import AgentReport

log = logging.getLogger("greenroom.daemon.outbox")

FILE_NAME_DIGITS = 12


class PendingEntry:
    """Reports that belong together. `is_sent` is set when the server has all of them, or has rejected them for good."""

    def __init__(self, number: int, reports: Sequence[AgentReport], is_safe: bool = False) -> None:
        self.number = number
        self.unsent = {report.id: report for report in reports}
        self.is_sent = threading.Event()
        self.is_safe = is_safe
        self._callbacks: list[Callable[[], None]] = []

    def call_when_safe(self, then: Callable[[], None]) -> None:
        """Call `then` once they cannot be lost with this process any more: they are on disk, or sent."""
        self._callbacks.append(then)
        if self.is_safe:
            self.mark_safe()

    def mark_safe(self) -> None:
        self.is_safe = True
        while self._callbacks:
            self._callbacks.pop(0)()


class Outbox:
    """Reports that the server has not confirmed yet, in order; those that belong together are in one file.

    A daemon that is killed leaves all reports of a file or none. A file is removed when its last report is sent.
    On a full disk, reports are kept in memory, sent all the same, and written as soon as there is space.
    At most `reports_max` reports are kept. Beyond that the oldest is dropped and logged: the server learns of the end
    of a participant, too, when the next one of its role joins.
    """

    def __init__(self, folder: Path, reports_max: int) -> None:
        self._folder = folder
        self._waiting_max = reports_max
        self._waiting: dict[str, PendingEntry] = {}  # by the id of each report, in the order of sending
        self._changed = threading.Condition(threading.RLock())
        self._has_logged_failure = False
        self._number = 0
        self._read_folder()

    def add(self, *reports: AgentReport, on_safe: Callable[[], None] = lambda: None) -> threading.Event:
        """Add reports that belong together; the returned event is set when the server has them.

        A report that is already in the outbox is not added again. `on_safe` is called once the reports cannot be lost
        with this process.
        """
        with self._changed:
            new = self._filter_new(reports)
            if new:
                self._number += 1
                waiting = self._add(PendingEntry(self._number, new))
            else:
                waiting = self._waiting[reports[-1].id]
            waiting.call_when_safe(on_safe)
            self.write_unsaved()
            self._drop_excess()
            self._changed.notify_all()
            return waiting.is_sent

    def oldest(self, count: int) -> list[AgentReport]:
        """The oldest reports, at most `count`."""
        with self._changed:
            return [waiting.unsent[id] for id, waiting in islice(self._waiting.items(), count)]

    def holds(self, id: str) -> bool:
        """Whether a report with that id is in the outbox."""
        with self._changed:
            return id in self._waiting

    def remove_confirmed(self, reports: Iterable[AgentReport]) -> None:
        """Remove reports that the server has, or has rejected for good.

        Of reports that belong together, some may be removed before the others. If the daemon is killed then, the next
        one sends all of them again, which is harmless: the server recognises each by its id.
        """
        with self._changed:
            for report in reports:
                if report.id in self._waiting:
                    self._remove(report.id)
            self._changed.notify_all()

    def write_unsaved(self) -> None:
        """Write the reports that only memory holds, the oldest first, until a write fails."""
        with self._changed:
            for waiting in dict.fromkeys(entry for entry in self._waiting.values() if not entry.is_safe):
                try:
                    write_record(self._file(waiting.number), make_entry(*waiting.unsent.values()))
                except OSError as error:
                    if not self._has_logged_failure:
                        log.error("outbox not writable: %s: %s; reports are kept in memory", self._folder, error)
                    self._has_logged_failure = True
                    return
                waiting.mark_safe()
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

    def _filter_new(self, reports: Iterable[AgentReport]) -> list[AgentReport]:
        return [report for report in reports if report.id not in self._waiting]

    def _add(self, waiting: PendingEntry) -> PendingEntry:
        self._waiting |= dict.fromkeys(waiting.unsent, waiting)
        return waiting

    def _drop_excess(self) -> None:
        while len(self._waiting) > self._waiting_max:
            id, waiting = next(iter(self._waiting.items()))
            log.error("outbox full (%d): dropped the oldest report: %s", self._waiting_max, waiting.unsent[id])
            self._remove(id)

    def _remove(self, id: str) -> None:
        waiting = self._waiting.pop(id)
        del waiting.unsent[id]
        if not waiting.unsent:
            remove_record(self._file(waiting.number))
            waiting.mark_safe()
            waiting.is_sent.set()

    def _read_folder(self) -> None:
        """Read the reports that an earlier daemon could not send."""
        remove_drafts(self._folder)
        for path, entry in read_valid(self._folder, OutboxEntry):
            try:
                number = int(path.stem)
            except ValueError as error:
                set_aside(path, error)
                continue
            new = self._filter_new(entry.reports)
            if new:
                self._add(PendingEntry(number, new, is_safe=True))
            else:
                remove_record(path)  # An earlier file has all of it; this one could not be removed when it was sent.
        # Above the numbers of all files, even of those that cannot be read now: none may be overwritten.
        numbers = (int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdecimal())
        self._number = max(numbers, default=0)
        self._drop_excess()

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:0{FILE_NAME_DIGITS}}.json"


class OutboxEntry(AgentReport, frozen=True):
    """A report, with those that are sent after it. The files of earlier versions, with one report, can be read too."""

    then: tuple[AgentReport, ...] = ()

    @property
    def reports(self) -> tuple[AgentReport, ...]:
        """All reports, in their order."""
        return (AgentReport(**{name: getattr(self, name) for name in AgentReport.__struct_fields__}), *self.then)


def make_entry(first: AgentReport, *then: AgentReport) -> OutboxEntry:
    return OutboxEntry(**msgspec.structs.asdict(first), then=then)
