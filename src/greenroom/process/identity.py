"""Knows how a process is told from another that got the same number later. Must not know what the process does."""

import os
import select
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

if sys.platform != "linux":
    import psutil  # On Linux /proc tells all of it, and every command of an agent would pay for the import.

LOOK_EVERY_S = 0.1


class Identity(msgspec.Struct, frozen=True):
    """A process for all time: its number, and when it started. Numbers are given out again, pairs are not."""

    pid: int
    started: str


def identity_of(pid: int) -> Identity | None:
    """The identity of the process that has that number now; None when there is none."""
    started = _started(pid)
    return None if started is None else Identity(pid, started)


def is_alive(identity: Identity) -> bool:
    """Tell whether exactly that process still runs.

    A process that we may not signal (EPERM) is alive; one that ended and only waits to be collected is not.
    """
    try:
        os.kill(identity.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's process by now, or ours under another user: its start time decides
    started = _started(identity.pid)
    return started == identity.started and not is_zombie(identity.pid)


def await_end(identity: Identity) -> None:
    """Wait until exactly that process has ended, whoever's child it is.

    Where the kernel tells of it nobody has to look again and again: a daemon may have many to wait for.
    """
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):  # it has ended already, or there is no such call or no descriptor left
            process = os.pidfd_open(identity.pid)
            try:
                if is_alive(identity):  # of this identity, now that the number can no longer become another's
                    poll = select.poll()
                    poll.register(process, select.POLLIN)
                    poll.poll()
            finally:
                os.close(process)
    while is_alive(identity):
        threading.Event().wait(LOOK_EVERY_S)


def is_of_this_boot(identity: Identity) -> bool:
    """Tell whether the process was started since this computer was. Every process of an earlier boot has ended."""
    boot, _, _ = identity.started.rpartition(":")
    return boot == this_boot()


if sys.platform == "linux":

    def is_zombie(pid: int) -> bool:
        """Tell whether the process has ended and only its exit status is left of it."""
        fields = _fields(pid)
        return fields is None or fields[0] in (b"Z", b"X")

    def _started(pid: int) -> str | None:
        """When the process started, with the boot. In ticks: a corrected wall clock would move anything else."""
        fields = _fields(pid)
        return None if fields is None else f"{this_boot()}:{fields[19].decode()}"

    def _fields(pid: int) -> list[bytes] | None:
        """What the kernel says of a process behind its name: first its state, as the twentieth when it started."""
        try:
            return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None

    @cache
    def this_boot() -> str:
        """What no other start of this computer is called."""
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

else:

    def is_zombie(pid: int) -> bool:
        """Tell whether the process has ended and only its exit status is left of it."""
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.AccessDenied:
            return False
        except psutil.NoSuchProcess:
            return True

    def _started(pid: int) -> str | None:
        try:
            return f"{this_boot()}:{psutil.Process(pid).create_time():.2f}"
        except psutil.Error:
            return None

    @cache
    def this_boot() -> str:
        """What no other start of this computer is called."""
        return f"{psutil.boot_time():.0f}"
