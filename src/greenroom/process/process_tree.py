"""Finds all processes of a command, in and outside of its process group, and ends them.

Process numbers are used again. So a process is only signalled if it is identified by number and start time, or by the
variables that it was started with.
"""

import os
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress

import psutil

from greenroom.clock import SystemClock
from greenroom.process.identity import ProcessIdentity, identity_of, is_alive, is_of_this_boot

POLL_S_MIN = 0.02
POLL_S_MAX = 0.2
KILL_S_MAX = 5.0


def end_leftover(
    identity: ProcessIdentity | None, marks: Mapping[str, str] | None = None, grace_s: float = 0.0
) -> bool:
    """End a group that an earlier process of Greenroom started; True when any of its processes still ran.

    A number that another process has by now is noticed, and that process is not touched. If the number was never
    recorded (None), the group is found by its marks alone.
    """
    return end_group(identity, grace_s, marks)


def end_group(
    identity: ProcessIdentity | None,
    grace_s: float,
    marks: Mapping[str, str] | None = None,
    *,
    command: ProcessIdentity | None = None,
    is_watched: bool = False,
) -> bool:
    """Send SIGTERM to the group, and SIGKILL to what is left after `grace_s`; True when any process was found.

    The leader is killed last: it records how the `command` ended, and then ends by itself. `is_watched`: the leader was
    seen running until now, so its number cannot belong to another process.
    """
    clock = SystemClock()

    def refresh(known: set[psutil.Process]) -> set[psutil.Process]:
        return _find_members(identity, known, is_watched or not marks)

    members = refresh(_find_marked(marks) | _process_of(command))
    if not members:
        return False
    if grace_s > 0:
        _signal(members, identity, signal.SIGTERM)
    _signal(members, identity, signal.SIGCONT)  # a stopped process handles SIGTERM only when it continues
    deadline, pause_s = clock.monotonic() + grace_s, POLL_S_MIN
    while clock.monotonic() < deadline and (members := refresh(members)):
        threading.Event().wait(pause_s)
        pause_s = min(2 * pause_s, POLL_S_MAX)
    for spared in (_process_of(identity), set[psutil.Process]()):
        deadline = clock.monotonic() + KILL_S_MAX
        # List again after each signal: a process that was forked during one listing is in the next.
        while (members := refresh(members | _find_marked(marks))) and clock.monotonic() < deadline:
            _signal(members - spared, None if spared else identity, signal.SIGKILL)
            threading.Event().wait(POLL_S_MIN)
    return True


def _find_marked(marks: Mapping[str, str] | None) -> set[psutil.Process]:
    """The processes of this user that have all of these variables, which they keep when they leave the group."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter() if marks else ():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if marks and all(environment.get(name) == value for name, value in marks.items()):
                found.add(process)
    return found


def _find_members(identity: ProcessIdentity | None, known: set[psutil.Process], is_sure: bool) -> set[psutil.Process]:
    """The running processes in the group or session of `identity`, those of `known`, and all their descendants."""
    processes = list(psutil.process_iter())
    found = {process for process in processes if process in known}
    if identity is not None:
        group = {process for process in processes if _is_in_group(process.pid, identity.pid)}
        if _is_same_group(identity, is_sure or bool(group & found)):
            found |= group
    children: dict[int, list[psutil.Process]] = {}
    for process in processes:
        children.setdefault(_parent_of(process), []).append(process)
    to_visit = [process.pid for process in found]
    while to_visit:
        new_children = set(children.pop(to_visit.pop(), ()))
        to_visit += [process.pid for process in new_children - found]
        found |= new_children
    return {process for process in found if _is_running(process)}


def _is_same_group(identity: ProcessIdentity, is_sure: bool) -> bool:
    """Whether the group of this number is still the one that `identity` led.

    The kernel uses a number again only when no group and no session of that number is left. So a process with the
    number but another start time proves that the group is gone. If no process has the number, a later holder may have
    ended too and left a group: then a known process has to be found in it (`is_sure`).
    """
    leader = identity_of(identity.pid)
    return is_of_this_boot(identity) and (leader == identity or (leader is None and is_sure))


def _process_of(identity: ProcessIdentity | None) -> set[psutil.Process]:
    if identity is not None:
        with suppress(psutil.Error):
            process = psutil.Process(identity.pid)
            return {process} if is_alive(identity) else set()
    return set()


def _parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return -1  # it ended meanwhile


def _is_in_group(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group or os.getsid(pid) == group
    except (ProcessLookupError, PermissionError):
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _signal(members: set[psutil.Process], identity: ProcessIdentity | None, number: signal.Signals) -> None:
    """Signal the group at once, and then one by one the processes outside of it; without `identity`, all one by one.

    The oldest come first: a parent should not see its child end first, and react to that.
    """
    group = identity.pid if identity is not None else None
    others = {process for process in members if _group_of(process.pid) != group}
    if group is not None and others != members:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in sorted(others, key=_age_key):
        with suppress(psutil.Error):  # it ended meanwhile, or may not be signalled: the next listing decides
            process.send_signal(number)  # psutil compares start times before it signals


def _age_key(process: psutil.Process) -> tuple[float, int]:
    with suppress(psutil.Error):
        return process.create_time(), process.pid
    return float("inf"), process.pid
