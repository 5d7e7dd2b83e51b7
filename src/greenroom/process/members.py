"""Knows who belongs to the group of a command, wherever they are, and how they end. Must not know what it is for.

A number says little: it is given out again. Whoever is touched here is known by number and start, or by the variables
that it was started with.
"""

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress

import psutil

from greenroom.clock import SystemClock
from greenroom.process.identity import Identity, identity_of, is_alive, is_of_this_boot

LOOK_EVERY_S = 0.02
LOOK_EVERY_S_MAX = 0.2
KILL_S_MAX = 5.0


def kill_leftover(identity: Identity | None, marks: Mapping[str, str] | None = None, grace_s: float = 0.0) -> bool:
    """End a group that an earlier process of ours has started; True when anything of it still ran.

    That its number was given to somebody else meanwhile is noticed, and nobody else is touched. Where its number was
    never written down (None), the marks alone have to tell.
    """
    return end_group(identity, grace_s, marks)


def end_group(
    identity: Identity | None,
    grace_s: float,
    marks: Mapping[str, str] | None = None,
    *,
    command: Identity | None = None,
    is_watched: bool = False,
) -> bool:
    """TERM to everybody in the group, KILL to whoever is left after `grace_s`; True when anybody was there.

    The leader comes last: it writes down how the `command` ended, and then ends by itself. `is_watched` tells that it
    was seen alive until now, so that its number cannot be another's.
    """
    clock = SystemClock()

    def look(known: set[psutil.Process]) -> set[psutil.Process]:
        return _members(identity, known, is_watched or not marks)

    members = look(_marked(marks) | _process_of(command))
    if not members:
        return False
    if grace_s > 0:
        _signal(members, identity, signal.SIGTERM)
    _signal(members, identity, signal.SIGCONT)  # who stands still has to hear it too
    deadline, pause_s = clock.monotonic() + grace_s, LOOK_EVERY_S
    while clock.monotonic() < deadline and (members := look(members)):
        threading.Event().wait(pause_s)
        pause_s = min(2 * pause_s, LOOK_EVERY_S_MAX)
    for spared in (_process_of(identity), set[psutil.Process]()):
        deadline = clock.monotonic() + KILL_S_MAX
        # Looked at again after each blow: who was being forked while we listed the others is there on the next round.
        while (members := look(members | _marked(marks))) and clock.monotonic() < deadline:
            _signal(members - spared, None if spared else identity, signal.SIGKILL)
            threading.Event().wait(LOOK_EVERY_S)
    return True


def _marked(marks: Mapping[str, str] | None) -> set[psutil.Process]:
    """The processes of this user that were started with all of these variables: a way out of a group, not of these."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter() if marks else ():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if marks and all(environment.get(name) == value for name, value in marks.items()):
                found.add(process)
    return found


def _members(identity: Identity | None, known: set[psutil.Process], is_sure: bool) -> set[psutil.Process]:
    """Everybody who lives in the group or session of `identity`, who of `known` still lives, and all their children."""
    everybody = list(psutil.process_iter())
    found = {process for process in everybody if process in known}
    if identity is not None:
        group = {process for process in everybody if _belongs(process.pid, identity.pid)}
        if _is_still_its_own(identity, is_sure or bool(group & found)):
            found |= group
    children: dict[int, list[psutil.Process]] = {}
    for process in everybody:
        children.setdefault(_parent_of(process), []).append(process)
    to_visit = [process.pid for process in found]
    while to_visit:
        born = set(children.pop(to_visit.pop(), ()))
        to_visit += [process.pid for process in born - found]
        found |= born
    return {process for process in found if _lives(process)}


def _is_still_its_own(identity: Identity, is_sure: bool) -> bool:
    """Tell whether the group of that number is the one that `identity` led.

    The kernel gives a number out again only when no group and no session of that number is left. So a process that
    has the number but not the start time proves that nobody of ours is there any more. Where nobody has it, a later
    holder may have ended too and left a group, so that somebody of ours has to be seen in it.
    """
    leader = identity_of(identity.pid)
    return is_of_this_boot(identity) and (leader == identity or (leader is None and is_sure))


def _process_of(identity: Identity | None) -> set[psutil.Process]:
    if identity is not None:
        with suppress(psutil.Error):
            process = psutil.Process(identity.pid)
            return {process} if is_alive(identity) else set()
    return set()


def _parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return -1  # it ended between two looks


def _belongs(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group or os.getsid(pid) == group
    except (ProcessLookupError, PermissionError):
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _signal(members: set[psutil.Process], identity: Identity | None, number: signal.Signals) -> None:
    """Signal the group in one stroke, and then whoever left the group, or all, one by one.

    Nobody should see another end first, and do something about it: so the oldest, whose the others are, come first.
    """
    group = identity.pid if identity is not None else None
    others = {process for process in members if _group_of(process.pid) != group}
    if group is not None and others != members:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in sorted(others, key=_place_by_age):
        with suppress(psutil.Error):  # ended meanwhile, or not ours to signal: the next look decides
            process.send_signal(number)  # psutil compares start times before it signals


def _place_by_age(process: psutil.Process) -> tuple[float, int]:
    with suppress(psutil.Error):
        return process.create_time(), process.pid
    return float("inf"), process.pid
