"""Creates files and folders that only their owner can read, whatever the umask, and closes existing ones to others.

Everything that Greenroom creates on disk is created here, or by the shim, which can import nothing.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
OTHERS: Final = 0o077
"""The permissions of everybody except the owner."""


def make_private_folder(folder: Path) -> None:
    """Create a folder and its parents, all of mode 0700; an existing one keeps its mode. Raises OSError.

    `Path.mkdir` would set the mode of the last one only.
    """
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    folder.mkdir(exist_ok=True, mode=FOLDER_MODE)
    if stat.S_IMODE(folder.stat().st_mode) != FOLDER_MODE:
        folder.chmod(FOLDER_MODE)


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, and create it with mode 0600 where the flags say so: an `opener` for `open`. Raises OSError.

    An existing file gets that mode too, if this user owns it.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, FILE_MODE)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != FILE_MODE:
        with suppress(OSError):
            os.fchmod(descriptor, FILE_MODE)
    return descriptor


def write_private_bytes(path: Path, content: bytes) -> None:
    """Write a file, not atomically. Raises OSError."""
    with open(path, "wb", opener=open_private) as file:
        file.write(content)


def find_open_to_others(path: Path, depth_max: int | None = None) -> Iterator[Path]:
    """This file, or this folder and what is below it, as far as others can access it. Links are not followed.

    What is in a folder that others cannot enter is not looked at. `depth_max` is how many levels of folders are, and
    then only these; None for all levels and all files.
    """
    try:
        mode = path.lstat().st_mode
        if not mode & OTHERS or not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and depth_max is None)):
            return
        yield path
        if stat.S_ISDIR(mode) and depth_max != 0:
            for inner in sorted(path.iterdir()):
                yield from find_open_to_others(inner, None if depth_max is None else depth_max - 1)
    except OSError:
        return  # it was removed meanwhile, or belongs to another user


def close_to_others(path: Path) -> None:
    """Take the permissions on a file or folder from everybody except its owner, if this user may."""
    with suppress(OSError):
        path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~OTHERS)
