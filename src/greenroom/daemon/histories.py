"""What happened to each agent of this machine, kept over the daemon's own end. Must not know what follows from it.

In memory the instants are seconds since the boot, which nobody can set; in the file they are the wall clock's, which
outlive a boot and may jump. Within one boot the file says by how much it jumped. After another boot nobody can say it;
then no rest is longer than it would have been, and no end lies ahead.
"""

import logging
import threading
from collections.abc import Collection
from pathlib import Path

import msgspec

from greenroom.clock import Clock
from greenroom.daemon.records import put_aside
from greenroom.domain import supervision
from greenroom.domain.reliability import Reliability
from greenroom.domain.supervision import History
from greenroom.settings.private_file import write_record

log = logging.getLogger("greenroom.daemon.histories")

Key = tuple[str, str]

LEAP_S = 1.0
"""The wall clock was set when it has come to differ by so much from the seconds since the boot."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One agent in the file."""

    room: str
    role: str
    history: History


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file. `boot` was up since `booted_at` by the wall clock of the moment of writing, `written_at`."""

    boot: str
    booted_at: float
    written_at: float
    agents: tuple[Agent, ...]


class Histories:
    """The history of each role, for any thread. Each change is written down at once, and again if that failed.

    `boot` names this start of the computer, as no other is called.
    """

    def __init__(self, path: Path, boot: str, clock: Clock, limits: Reliability) -> None:
        self._path = path
        self._boot = boot
        self._clock = clock
        self._limits = limits
        self._lock = threading.Lock()
        self._is_written = True
        self._is_in_trouble = False
        self._booted_at: float | None = None
        self._histories: dict[Key, History] = self._read()

    def of(self, room: str, role: str) -> History:
        """What happened to that agent; nothing, if nobody knows of anything."""
        with self._lock:
            return self._histories.get((room, role), History())

    def note(self, room: str, role: str, history: History) -> None:
        """Take down what happened."""
        with self._lock:
            if self._histories.get((room, role)) != history:
                self._histories[room, role] = history
                self._write()

    def keep_only(self, wished: Collection[Key]) -> None:
        """Forget the agents that nobody wishes any more."""
        with self._lock:
            gone = self._histories.keys() - set(wished)
            for key in gone:
                del self._histories[key]
            if gone:
                self._write()

    def keep_current(self) -> None:
        """Write what is not in the file as it is here: it could not be written, or the clock or the boot is another."""
        with self._lock:
            was_set = self._booted_at is not None and abs(self._when_booted() - self._booted_at) > LEAP_S
            if not self._is_written or was_set:
                self._write()

    def _write(self) -> None:
        """Put all of it into the file. Where that cannot be done, memory holds it, and it is said once."""
        booted_at = self._when_booted()
        agents = tuple(
            Agent(room=room, role=role, history=moved(history, booted_at))
            for (room, role), history in self._histories.items()
        )
        page = Page(boot=self._boot, booted_at=booted_at, written_at=self._clock.wall(), agents=agents)
        try:
            write_record(self._path, page)
        except OSError as error:
            self._is_written = False
            if not self._is_in_trouble:
                log.error("%s: a daemon that was started now would not know what its agents went through", error)
            self._is_in_trouble = True
        else:
            self._is_written, self._is_in_trouble, self._booted_at = True, False, booted_at

    def _when_booted(self) -> float:
        return self._clock.wall() - self._clock.boottime()

    def _read(self) -> dict[Key, History]:
        try:
            page = msgspec.json.decode(self._path.read_bytes(), type=Page)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            put_aside(self._path, error)
            return {}
        self._is_written = page.boot == self._boot
        self._booted_at = page.booted_at if self._is_written else None
        return {(agent.room, agent.role): self._take_back(page, agent.history) for agent in page.agents}

    def _take_back(self, page: Page, written: History) -> History:
        """Turn the file's instants into this boot's, and keep within the rules what the wall clock's jumps did."""
        now = self._clock.boottime()
        booted_at = page.booted_at if page.boot == self._boot else self._when_booted()
        history = moved(written, -booted_at)
        rests_until = history.rests_until
        if rests_until is not None and written.rests_until is not None:
            was_left_s = written.rests_until - page.written_at
            rests_until = min(rests_until, now + was_left_s, now + rest_s_max(history.rest, self._limits))
        return msgspec.structs.replace(
            history,
            ends=tuple(min(at, now) for at in history.ends),
            last_end_at=None if history.last_end_at is None else min(history.last_end_at, now),
            rests_until=rests_until,
        )


def moved(history: History, by_s: float) -> History:
    """The same history by a clock that shows `by_s` more."""
    return msgspec.structs.replace(
        history,
        ends=tuple(at + by_s for at in history.ends),
        last_end_at=None if history.last_end_at is None else history.last_end_at + by_s,
        rests_until=None if history.rests_until is None else history.rests_until + by_s,
    )


def rest_s_max(rest: str | None, limits: Reliability) -> float:
    """The longest that a rest can be by its rule. An agent that is told to wait until some day waits that long."""
    if rest == supervision.PARKED:
        return limits.park_pause_s
    if rest == supervision.YIELDED:
        return limits.daemon_heartbeat_interval_s
    return float("inf") if rest == supervision.PAUSED else limits.restart_pause_s_max
