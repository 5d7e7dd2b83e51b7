"""The restart state of each agent of this machine, kept in a file so that it survives the daemon.

In memory, instants are seconds since boot, which cannot be set. In the file, they are seconds of the wall clock, which
survive a boot but may jump. Within one boot, the file shows by how much the wall clock jumped. Over a boot, the jump is
unknown: then no restart hold is longer than its rule allows, and no recorded end is in the future.
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
"""Seconds: a larger change between the wall clock and the seconds since boot means that the clock was set."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """The history of one agent, as the file holds it."""

    room: str
    role: str
    history: History


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file. `boot` began at `booted_at`, by the wall clock at the time of writing, `written_at`."""

    boot: str
    booted_at: float
    written_at: float
    agents: tuple[Agent, ...]


class Histories:
    """The history of each role, for any thread. Each change is written at once; a failed write is retried.

    `boot` is the unique id of this boot of the computer. A failed write is logged once until a write succeeds.
    """

    def __init__(self, path: Path, boot: str, clock: Clock, limits: Reliability) -> None:
        self._path = path
        self._boot = boot
        self._clock = clock
        self._limits = limits
        self._lock = threading.Lock()
        self._is_saved = True
        self._has_logged_failure = False
        self._booted_at: float | None = None
        self._histories: dict[Key, History] = self._read()

    def of(self, room: str, role: str) -> History:
        """The history of an agent; an empty one if nothing is recorded."""
        with self._lock:
            return self._histories.get((room, role), History())

    def note(self, room: str, role: str, history: History) -> None:
        """Record an agent's history."""
        with self._lock:
            if self._histories.get((room, role)) != history:
                self._histories[room, role] = history
                self._write()

    def keep_only(self, wished: Collection[Key]) -> None:
        """Remove the agents that are not in `wished`."""
        with self._lock:
            removed_keys = self._histories.keys() - set(wished)
            for key in removed_keys:
                del self._histories[key]
            if removed_keys:
                self._write()

    def keep_current(self) -> None:
        """Write the file again if the last write failed, or if the wall clock or the boot changed since."""
        with self._lock:
            was_set = self._booted_at is not None and abs(self._when_booted() - self._booted_at) > LEAP_S
            if not self._is_saved or was_set:
                self._write()

    def _write(self) -> None:
        """Write the file. If that fails, memory keeps the state, and the failure is logged once."""
        booted_at = self._when_booted()
        agents = tuple(
            Agent(room=room, role=role, history=moved(history, booted_at))
            for (room, role), history in self._histories.items()
        )
        page = Page(boot=self._boot, booted_at=booted_at, written_at=self._clock.wall(), agents=agents)
        try:
            write_record(self._path, page)
        except OSError as error:
            self._is_saved = False
            if not self._has_logged_failure:
                log.error(
                    "cannot write the restart state: %s: %s; a daemon restart would reset the backoff",
                    self._path,
                    error,
                )
            self._has_logged_failure = True
        else:
            self._is_saved, self._has_logged_failure, self._booted_at = True, False, booted_at

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
        self._is_saved = page.boot == self._boot
        self._booted_at = page.booted_at if self._is_saved else None
        return {(agent.room, agent.role): self._take_back(page, agent.history) for agent in page.agents}

    def _take_back(self, page: Page, written: History) -> History:
        """Convert the file's instants to this boot's seconds, and limit what a jump of the wall clock can have done."""
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
    """The history with all instants moved by `by_s` seconds."""
    return msgspec.structs.replace(
        history,
        ends=tuple(at + by_s for at in history.ends),
        last_end_at=None if history.last_end_at is None else history.last_end_at + by_s,
        rests_until=None if history.rests_until is None else history.rests_until + by_s,
    )


def rest_s_max(rest: str | None, limits: Reliability) -> float:
    """The longest restart hold in seconds that the rule allows; a pause that the agent asked for has no limit."""
    if rest == supervision.PARKED:
        return limits.park_pause_s
    if rest == supervision.YIELDED:
        return limits.daemon_heartbeat_interval_s
    return float("inf") if rest == supervision.PAUSED else limits.restart_pause_s_max
