"""Locks a data directory for one process at a time.

The lock is an flock on a file that names its holder. It works between processes of one machine.
"""

import errno
import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType

from greenroom.domain.errors import AlreadyRunning, ConfigurationError, GreenroomError, Unavailable
from greenroom.private_files import make_private_folder, open_private

TRIES_MAX = 10
RETRY_EVERY_S = 0.02
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
WAITING = "waiting for its store: "
"""Begins the text of the lock of a server that cannot use its store yet."""
ENDING = "it is ending"
"""The text of a holder that has begun to end. Another process may wait for the lock."""


class FileLock:
    """A locked file that names its holder. The kernel releases the lock when the process ends, for any reason."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def write_info(self, text: str) -> None:
        """Write a text for other processes into the file, below the holder's process id, which is there at any time."""
        content = f"{os.getpid()}\n{text}\n".encode()
        # Over what is there: a full disk has room for that.
        os.pwrite(self._descriptor, content.ljust(os.fstat(self._descriptor).st_size, b"\n"), 0)
        os.ftruncate(self._descriptor, len(content))

    def is_held(self) -> bool:
        """Return whether another process would still meet this lock: False once its file was removed or replaced."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """Release the lock. Its file stays: if it were removed, two processes could lock two files of one name."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire_lock(path: Path, what: str) -> FileLock:
    """Lock the file at `path` for this process. `what` is its kind in error texts: "server" or "daemon".

    The file's directory is created if needed, and made private. Raises AlreadyRunning, which names the holder, when
    the lock is held, ConfigurationError when the directory or the file cannot be used, and Unavailable when their disk
    is full.
    """
    make_private_directory(path.parent)
    try:
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise directory_error(path, error) from error
    for _ in range(TRIES_MAX):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if read_holder(path)[0] is not None:
                break
            threading.Event().wait(RETRY_EVERY_S)  # `read_holder` tests it, or its holder's id is not written yet
        else:
            lock = FileLock(descriptor, path)
            try:
                lock.write_info("")
            except OSError as error:
                lock.release()
                raise directory_error(path, error) from error
            return lock
    os.close(descriptor)
    pid, text = read_holder(path)
    raise AlreadyRunning(
        f"A {what} is already running in {path.parent}: process {pid or 'unknown'}{f' ({text})' if text else ''}.",
        f"Use that one, stop it{f' (kill {pid})' if pid else ''}, or choose another --data-dir.",
    )


def make_private_directory(directory: Path) -> None:
    """Create a directory with mode 0700. Raises ConfigurationError, or Unavailable, when that fails.

    An existing directory gets this mode if it is empty or has a lock file in it. One with only other files in it keeps
    its mode, since other programs may use it.
    """
    try:
        make_private_folder(directory)
        names = os.listdir(directory)
        if not names or any(name.endswith(".lock") for name in names):
            directory.chmod(0o700)
    except OSError as error:
        raise directory_error(directory, error) from error


def directory_error(path: Path, error: OSError) -> GreenroomError:
    """Return the error for a data directory in which this process cannot write."""
    detail = f"The data directory cannot be used: {path}: {error.strerror}."
    if error.errno in DISK_FULL:
        return Unavailable(detail, "Free some space, then start again.", "disk_full")
    return ConfigurationError(detail, "Make it writable, or choose another one with --data-dir.")


def read_holder(path: Path) -> tuple[int | None, str]:
    """Return the process id of the lock's holder and the text that it wrote; (None, "") when the lock is free."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None, ""
    except OSError:
        number, _, text = os.pread(descriptor, 4096, 0).decode("utf-8", "replace").partition("\n")
        text = text.partition("\n")[0].strip()
        return (int(number), text) if number.isdecimal() else (None, text)
    finally:
        os.close(descriptor)
