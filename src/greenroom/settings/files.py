"""Reads and writes small files that only their owner can read, closes those of a data directory to others, and measures
the size of files and folders.

Writes are atomic.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from greenroom.private_files import close_to_others, find_open_to_others, make_private_folder, open_private
from greenroom.settings import paths

Record = TypeVar("Record", bound=msgspec.Struct)


def write_text(path: Path, text: str) -> None:
    """Write a file atomically, readable only for its owner. Raises OSError."""
    make_private_folder(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "w", encoding="utf-8", opener=open_private) as file:
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
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None


def rename_former(former: Path, present: Path) -> None:
    """Give a file or folder of an earlier version its present name, unless that exists. Raises OSError.

    Another process may do the same at the same moment.
    """
    if not present.exists():
        with contextlib.suppress(FileNotFoundError):
            former.rename(present)


def find_own_open_to_others(data_dir: Path) -> Iterator[Path]:
    """The files and folders that Greenroom made in a data directory and that others can access.

    Of `work/`, which belongs to the agents, only the folders that a daemon creates.
    """
    for pattern in paths.OWN_ENTRIES:
        for entry in sorted(data_dir.glob(pattern)):
            yield from find_open_to_others(entry)
    yield from find_open_to_others(paths.work(data_dir), paths.WORK_LEVELS)


def close_data_dir(data_dir: Path) -> None:
    """Close what an earlier version left open to others in a data directory. The directory itself keeps its mode."""
    for path in find_own_open_to_others(data_dir):
        close_to_others(path)


def disk_usage(path: str | os.PathLike[str]) -> int:
    """The bytes of a file, or of all files below a folder; what is removed meanwhile counts 0."""
    try:
        if not os.path.isdir(path):
            return os.stat(path).st_size
        with os.scandir(path) as entries:
            return sum(disk_usage(entry) for entry in entries if not entry.is_symlink())
    except OSError:
        return 0
