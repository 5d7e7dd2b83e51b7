"""Identifies a process by number and start time, so that a later process with the same number is not taken for it."""

import os
import select
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

if sys.platform != "linux":
    import psutil  # On Linux, /proc has all of this, and the import would slow down every command.

POLL_EVERY_S = 0.1


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process: its number, and when it started. Numbers are used again, pairs of both are not."""

    pid: int
    started: str


def identity_of(pid: int) -> ProcessIdentity | None:
    """The identity of the process that has this number now; None if there is none."""
    started = _started(pid)
    return None if started is None else ProcessIdentity(pid, started)


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether exactly this process still runs.

    A process that may not be signalled (EPERM) runs; one that has ended and only waits to be collected does not.
    """
    try:
        os.kill(identity.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another process by now, or the same one under another user: the start time decides
    started = _started(identity.pid)
    return started == identity.started and not is_zombie(identity.pid)


def wait_for_end(identity: ProcessIdentity) -> None:
    """Wait until exactly this process has ended, whether it is a child or not.

    Uses a pidfd where the kernel has them, since a daemon may wait for many processes; else it polls.
    """
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):  # it has ended, or the call or a free descriptor is missing
            process = os.pidfd_open(identity.pid)
            try:
                if is_alive(identity):  # checked now that the number cannot be used again
                    poll = select.poll()
                    poll.register(process, select.POLLIN)
                    poll.poll()
            finally:
                os.close(process)
    while is_alive(identity):
        threading.Event().wait(POLL_EVERY_S)


def is_of_this_boot(identity: ProcessIdentity) -> bool:
    """Whether the process was started in this boot. Every process of an earlier boot has ended."""
    boot, _, _ = identity.started.rpartition(":")
    return boot == boot_id()


if sys.platform == "linux":

    def is_zombie(pid: int) -> bool:
        """Whether the process has ended and only waits to be collected."""
        fields = _fields(pid)
        return fields is None or fields[0] in (b"Z", b"X")

    def _started(pid: int) -> str | None:
        """When the process started, with the boot. In ticks, which a change of the wall clock does not move."""
        fields = _fields(pid)
        return None if fields is None else f"{boot_id()}:{fields[19].decode()}"

    def _fields(pid: int) -> list[bytes] | None:
        """The fields of /proc/PID/stat behind the name: the first is the state, the twentieth the start time."""
        try:
            return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None

    @cache
    def boot_id() -> str:
        """The unique id of this boot of the computer."""
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

else:

    def is_zombie(pid: int) -> bool:
        """Whether the process has ended and only waits to be collected."""
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.AccessDenied:
            return False
        except psutil.NoSuchProcess:
            return True

    def _started(pid: int) -> str | None:
        try:
            return f"{boot_id()}:{psutil.Process(pid).create_time():.2f}"
        except psutil.Error:
            return None

    @cache
    def boot_id() -> str:
        """The unique id of this boot of the computer."""
        return f"{psutil.boot_time():.0f}"
