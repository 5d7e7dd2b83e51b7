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
from greenroom.daemon.record_conversion import decode_record
from greenroom.daemon.record_files import set_aside
from greenroom.domain import restart_policy
from greenroom.domain.limits import Limits
from greenroom.domain.restart_policy import RestartHistory
from greenroom.settings.files import write_record

log = logging.getLogger("greenroom.daemon.restart_state")

RoleKey = tuple[str, str]

CLOCK_JUMP_S_MIN = 1.0
"""Seconds: a larger change between the wall clock and the seconds since boot means that the clock was set."""


class StoredAgent(msgspec.Struct, frozen=True, kw_only=True):
    """The history of one agent, as the file holds it."""

    room: str
    role: str
    history: RestartHistory


class RestartStateFile(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file. `boot` began at `booted_at`, by the wall clock at the time of writing, `written_at`."""

    boot: str
    booted_at: float
    written_at: float
    agents: tuple[StoredAgent, ...]


class RestartStates:
    """The history of each role, for any thread. Each change is written at once; a failed write is retried.

    `boot` is the unique id of this boot of the computer. A failed write is logged once until a write succeeds.
    """

    def __init__(self, path: Path, boot: str, clock: Clock, limits: Limits) -> None:
        self._path = path
        self._boot = boot
        self._clock = clock
        self._limits = limits
        self._lock = threading.Lock()
        self._is_saved = True
        self._has_logged_failure = False
        self._booted_at: float | None = None
        self._histories: dict[RoleKey, RestartHistory] = self._read()

    def get(self, room: str, role: str) -> RestartHistory:
        """The history of an agent; an empty one if nothing is recorded."""
        with self._lock:
            return self._histories.get((room, role), RestartHistory())

    def record(self, room: str, role: str, history: RestartHistory) -> None:
        """Record an agent's history."""
        with self._lock:
            if self._histories.get((room, role)) != history:
                self._histories[room, role] = history
                self._write()

    def retain(self, assigned: Collection[RoleKey]) -> None:
        """Remove the agents that are not in `assigned`."""
        with self._lock:
            removed_keys = self._histories.keys() - set(assigned)
            for key in removed_keys:
                del self._histories[key]
            if removed_keys:
                self._write()

    def write_if_stale(self) -> None:
        """Write the file again if the last write failed, or if the wall clock or the boot changed since."""
        with self._lock:
            was_set = (
                self._booted_at is not None and abs(self._current_booted_at() - self._booted_at) > CLOCK_JUMP_S_MIN
            )
            if not self._is_saved or was_set:
                self._write()

    def _write(self) -> None:
        """Write the file. If that fails, memory keeps the state, and the failure is logged once."""
        booted_at = self._current_booted_at()
        agents = tuple(
            StoredAgent(room=room, role=role, history=shift_history(history, booted_at))
            for (room, role), history in self._histories.items()
        )
        page = RestartStateFile(boot=self._boot, booted_at=booted_at, written_at=self._clock.wall(), agents=agents)
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

    def _current_booted_at(self) -> float:
        return self._clock.wall() - self._clock.boottime()

    def _read(self) -> dict[RoleKey, RestartHistory]:
        try:
            page = decode_record(self._path.read_bytes(), RestartStateFile)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            set_aside(self._path, error)
            return {}
        self._is_saved = page.boot == self._boot
        self._booted_at = page.booted_at if self._is_saved else None
        return {(agent.room, agent.role): self._restore_history(page, agent.history) for agent in page.agents}

    def _restore_history(self, page: RestartStateFile, written: RestartHistory) -> RestartHistory:
        """Convert the file's instants to this boot's seconds, and limit what a jump of the wall clock can have done."""
        now = self._clock.boottime()
        booted_at = page.booted_at if page.boot == self._boot else self._current_booted_at()
        history = shift_history(written, -booted_at)
        hold_until = history.hold_until
        if hold_until is not None and written.hold_until is not None:
            was_left_s = written.hold_until - page.written_at
            hold_until = min(hold_until, now + was_left_s, now + hold_s_max(history.hold, self._limits))
        return msgspec.structs.replace(
            history,
            failures=tuple(min(at, now) for at in history.failures),
            last_failure_at=None if history.last_failure_at is None else min(history.last_failure_at, now),
            hold_until=hold_until,
        )


def shift_history(history: RestartHistory, by_s: float) -> RestartHistory:
    """The history with all instants moved by `by_s` seconds."""
    return msgspec.structs.replace(
        history,
        failures=tuple(at + by_s for at in history.failures),
        last_failure_at=None if history.last_failure_at is None else history.last_failure_at + by_s,
        hold_until=None if history.hold_until is None else history.hold_until + by_s,
    )


def hold_s_max(hold: str | None, limits: Limits) -> float:
    """The longest restart hold in seconds that the rule allows."""
    if hold == restart_policy.CRASH_LOOPING:
        return limits.crash_loop_probe_after_s
    if hold == restart_policy.YIELDED:
        return limits.daemon_heartbeat_interval_s
    return limits.pause_s_max if hold == restart_policy.PAUSED else limits.restart_backoff_s_max
