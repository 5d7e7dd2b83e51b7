"""The files in the folder of a run: their names, and how they are read.

`wrapper.py` writes them, and cannot import this module, since it is a program of its own.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from greenroom.process.identity import Identity

Kind = TypeVar("Kind")

STREAMS = ("stdout", "stderr")


class Record(msgspec.Struct, frozen=True):
    """What the shim recorded at the end. `refused` is the keyword for why the command was never started."""

    code: int | None
    signal: int | None
    refused: str | None = None


def begin(folder: Path, command: Sequence[str], stdin: bytes) -> None:
    """Prepare the folder of a run, and remove the files of an earlier run. Raises OSError and ValueError."""
    if any("\0" in word for word in command):
        raise ValueError("a word of it contains U+0000, which no command can take")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("wrapper.json", "command.json", "exit.json"):
        (folder / name).unlink(missing_ok=True)
    for name in STREAMS:
        for _, path in parts_of(folder / name):
            path.unlink()
    for name, content in (
        ("command", b"\0".join(map(os.fsencode, command))),
        ("stdin", stdin),
        ("wrapper.log", b""),
    ):
        path = folder / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)


def wrapper_in(folder: Path) -> Identity | None:
    """The shim of the command; None if it was never started, or is not recorded."""
    return _read(folder / "wrapper.json", Identity)


def command_in(folder: Path) -> Identity | None:
    """The command itself; None if it is not recorded."""
    return _read(folder / "command.json", Identity)


def record_in(folder: Path) -> Record | None:
    """How the command ended; None while that is not recorded."""
    return _read(folder / "exit.json", Record)


def parts_of(stream: Path) -> list[tuple[int, Path]]:
    """The files with what was kept of a stream, in order, each with the offset of its first byte."""
    segments = ((path.name.removeprefix(f"{stream.name}."), path) for path in stream.parent.glob(f"{stream.name}.*"))
    found = [(int(place), path) for place, path in segments if place.isdecimal()]
    return sorted(found + [(0, stream)] * stream.exists())


def size_of(stream: Path) -> int:
    """How many bytes were written to a stream, kept or not."""
    return max((place + path.stat().st_size for place, path in parts_of(stream)), default=0)


def kept_of(stream: Path) -> int:
    """How many of them were kept."""
    return sum(path.stat().st_size for _, path in parts_of(stream))


def bytes_of(stream: Path, begin: int, end: int) -> bytes:
    """The kept bytes of a stream from offset `begin` up to `end`."""
    return b"".join(_slices(stream, begin, end))


def _slices(stream: Path, begin: int, end: int) -> Iterator[bytes]:
    for place, path in parts_of(stream):
        with open(path, "rb") as file:
            file.seek(max(0, begin - place))
            yield file.read(max(0, end - max(begin, place)))


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None
