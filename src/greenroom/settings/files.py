"""Reads and writes small files that only their owner can read, and measures the size of files and folders.

Writes are atomic.
"""

import contextlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

Record = TypeVar("Record", bound=msgspec.Struct)


def write_text(path: Path, text: str) -> None:
    """Write a file atomically, readable only for its owner. Raises OSError."""
    _make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "w", encoding="utf-8", opener=_open_private) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_record(path: Path, record: msgspec.Struct) -> None:
    write_text(path, msgspec.json.encode(record).decode())


def read_record(path: Path, shape: type[Record]) -> Record | None:
    """The record in the file; None when the file is missing, unreadable or of another version."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except (OSError, msgspec.MsgspecError):
        return None


def rename_former(former: Path, present: Path) -> None:
    """Give a file or folder of an earlier version its present name, unless that exists. Raises OSError.

    Another process may do the same at the same moment.
    """
    if not present.exists():
        with contextlib.suppress(FileNotFoundError):
            former.rename(present)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, all of mode 0700; `Path.mkdir` would set the mode of the last one only."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def disk_usage(path: str | os.PathLike[str]) -> int:
    """The bytes of a file, or of all files below a folder; what is removed meanwhile counts 0."""
    try:
        if not os.path.isdir(path):
            return os.stat(path).st_size
        with os.scandir(path) as entries:
            return sum(disk_usage(entry) for entry in entries if not entry.is_symlink())
    except OSError:
        return 0
