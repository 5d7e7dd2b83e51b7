"""Small files that only their owner may read. Knows how a file is written whole; must not know what is in it."""

import contextlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

Record = TypeVar("Record", bound=msgspec.Struct)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable for its owner alone."""
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
    """What the file holds; None when it is gone, or of another version."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except (OSError, msgspec.MsgspecError):
        return None


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it; `Path.mkdir` would give its mode to the last of them only."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o700)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
