"""Stops and removes the PostgreSQL of a test run once all processes of the run have ended, however they ended.

Each process that uses a server holds a shared lock on its `.owners` file, which the kernel releases when the process is
killed too. Run as a program, this module waits until the last lock is released, then removes the server.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OWNERS = ".owners"


@contextmanager
def start_stop_lock(root: Path) -> Iterator[None]:
    """Hold the lock under which servers in `root` are started and removed, one process at a time."""
    with open(root / ".turn", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def become_owner(folder: Path) -> bool:
    """Become an owner of the server in `folder` until this process ends. False while the server is being removed."""
    descriptor = os.open(folder.with_suffix(OWNERS), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def start_watcher(folder: Path, pg_ctl: Path, user: str | None) -> None:
    """Start a process that removes the server when its last owner has ended."""
    command = [sys.executable, "-S", __file__, str(folder), str(pg_ctl), user or ""]
    with subprocess.Popen(["/bin/sh", "-c", '"$@" &', "watch", *command], start_new_session=True):
        pass  # The shell exits at once, and its background process is re-parented to init.


def remove_unowned(root: Path, pg_ctl: Path, user: str | None) -> None:
    """Remove all servers without an owner, in case their watchers were killed. The caller holds `start_stop_lock`."""
    for owners_file in root.glob(f"*{OWNERS}"):
        with open(owners_file) as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_server(owners_file, pg_ctl, user)


def remove_server(owners_file: Path, pg_ctl: Path, user: str | None) -> None:
    folder = owners_file.with_suffix("")
    if folder.exists():
        stop = [str(pg_ctl), "-w", "-D", str(folder), "stop", "-m", "immediate"]
        subprocess.run(stop, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)
    owners_file.unlink(missing_ok=True)


def remove_after_last_owner(folder: Path, pg_ctl: Path, user: str | None) -> None:
    """Wait until the server in `folder` has no owner, and remove it."""
    with suppress(FileNotFoundError), open(folder.with_suffix(OWNERS)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with start_stop_lock(folder.parent):
            remove_server(folder.with_suffix(OWNERS), pg_ctl, user)


if __name__ == "__main__":
    remove_after_last_owner(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] or None)
