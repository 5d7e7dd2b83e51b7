"""Knows how one process at a time is let into a place. Must not know what it does there."""

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType

from greenroom.domain.errors import AlreadyRunning, ConfigurationError

LOOKS = 10
LOOK_EVERY_S = 0.02


class Lock:
    """A locked file that names its holder. The kernel frees it when the process ends, however it ends."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    def tell(self, text: str) -> None:
        """Write what others may know about the holder, below its process number."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n{text}\n".encode(), 0)

    def is_held(self) -> bool:
        """Tell whether a newcomer would still meet this lock: not when somebody has removed or replaced its file."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False

    def release(self) -> None:
        """Let the next one in. The file stays: taking it away would let two hold two files of one name."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold_lock(path: Path, what: str) -> Lock:
    """Take the lock at `path` for this process, a `what`. Raises AlreadyRunning, naming the holder, when it is held."""
    make_private(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(path, error) from error
    for _ in range(LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if holder_of(path)[0] is not None:
                break
            threading.Event().wait(LOOK_EVERY_S)  # it was looked at just now, or taken and not yet signed
        else:
            lock = Lock(descriptor, path)
            lock.tell("")
            return lock
    os.close(descriptor)
    pid, told = holder_of(path)
    raise AlreadyRunning(
        f"A {what} is already running in {path.parent}: process {pid or 'unknown'}{f' ({told})' if told else ''}.",
        f"Use that one, stop it{f' (kill {pid})' if pid else ''}, or choose another --data-dir.",
    )


def make_private(directory: Path) -> None:
    """Make a directory for its owner alone, or make an existing one so, unless others keep their things in it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = os.listdir(directory)
        if not names or any(name.endswith(".lock") for name in names):
            directory.chmod(0o700)
    except OSError as error:
        raise unusable(directory, error) from error


def unusable(path: Path, error: OSError) -> ConfigurationError:
    """The error for a data directory in which we cannot write."""
    return ConfigurationError(
        f"The data directory cannot be used: {path}: {error.strerror}.",
        "Make it writable, or choose another one with --data-dir.",
    )


def holder_of(path: Path) -> tuple[int | None, str]:
    """Who holds the lock at `path` now, and what it told about itself; (None, "") when it is free."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None, ""
    except OSError:
        number, _, told = os.pread(descriptor, 4096, 0).decode("utf-8", "replace").partition("\n")
        return (int(number), told.strip()) if number.isdigit() else (None, told.strip())
    finally:
        os.close(descriptor)
