"""Names and reads the files in the folder of a run, and reads the output of its command as text of a limited size.

`shim.py` writes them, and cannot import this module, since it is a program of its own.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from greenroom.private_files import make_private_folder, write_private_bytes
from greenroom.process.identity import ProcessIdentity

Kind = TypeVar("Kind")

STREAMS = ("stdout", "stderr")

FORMER_SHIM_FILE = "wrapper.json"
"""What `shim.json` was called in versions before store schema 4, whose runs may still be adopted."""


class ExitRecord(msgspec.Struct, frozen=True):
    """What the shim recorded at the end. `refused` is the keyword for why the command was never started."""

    code: int | None
    signal: int | None
    refused: str | None = None


def prepare_folder(folder: Path, command: Sequence[str], stdin: bytes) -> None:
    """Prepare the folder of a run, and remove the files of an earlier run. Raises OSError and ValueError."""
    if any("\0" in word for word in command):
        raise ValueError("a word of it contains U+0000, which no command can take")
    make_private_folder(folder)
    for name in ("shim.json", FORMER_SHIM_FILE, "command.json", "exit.json"):
        (folder / name).unlink(missing_ok=True)
    for name in STREAMS:
        for _, path in stream_files(folder / name):
            path.unlink()
    for name, content in (
        ("command", b"\0".join(map(os.fsencode, command))),
        ("stdin", stdin),
        ("shim.log", b""),
    ):
        path = folder / name
        path.unlink(missing_ok=True)
        write_private_bytes(path, content)


def read_shim(folder: Path) -> ProcessIdentity | None:
    """The shim of the command; None if it was never started, or is not recorded."""
    return _read(folder / "shim.json", ProcessIdentity) or _read(folder / FORMER_SHIM_FILE, ProcessIdentity)


def read_command(folder: Path) -> ProcessIdentity | None:
    """The command itself; None if it is not recorded."""
    return _read(folder / "command.json", ProcessIdentity)


def read_exit_record(folder: Path) -> ExitRecord | None:
    """How the command ended; None while that is not recorded."""
    return _read(folder / "exit.json", ExitRecord)


def stream_files(stream: Path) -> list[tuple[int, Path]]:
    """The files with what was kept of a stream, in order, each with the offset of its first byte."""
    segments = ((path.name.removeprefix(f"{stream.name}."), path) for path in stream.parent.glob(f"{stream.name}.*"))
    found = [(int(place), path) for place, path in segments if place.isdecimal()]
    return sorted(found + [(0, stream)] * stream.exists())


def written_size(stream: Path) -> int:
    """How many bytes were written to a stream, kept or not."""
    return max((place + path.stat().st_size for place, path in stream_files(stream)), default=0)


def kept_size(stream: Path) -> int:
    """How many of them were kept."""
    return sum(path.stat().st_size for _, path in stream_files(stream))


def read_bytes(stream: Path, begin: int, end: int) -> bytes:
    """The kept bytes of a stream from offset `begin` up to `end`."""
    return b"".join(_slices(stream, begin, end))


def _slices(stream: Path, begin: int, end: int) -> Iterator[bytes]:
    for place, path in stream_files(stream):
        with open(path, "rb") as file:
            file.seek(max(0, begin - place))
            yield file.read(max(0, end - max(begin, place)))


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def read_text(path: Path, bytes_max: int) -> str:
    """The output as text of at most `bytes_max` bytes: head and tail if it is longer, with the names of the files.

    Bytes that are not UTF-8 are replaced, and so is U+0000, which no text of Greenroom may contain.
    """
    size, kept = written_size(path), kept_size(path)
    if size <= bytes_max and kept == size:
        text = _clean(read_bytes(path, 0, size))
        if len(text.encode()) <= bytes_max:  # a replaced byte takes three
            return text
    remark = f"\n[... the middle is cut here; {_describe_files(path, size, kept)} ...]\n"
    half = min(max(0, bytes_max - len(remark.encode())), size) // 2
    head = _clean(read_bytes(path, 0, half)).encode()[:half]
    tail = _tail(_clean(read_bytes(path, size - half, size)), half)
    return head.decode("utf-8", "ignore") + remark + tail


def read_tail(path: Path, bytes_max: int) -> str:
    """The end of the output as text of at most `bytes_max` bytes; empty when there is no such file."""
    return _tail(_clean(read_last_bytes(path, bytes_max)), bytes_max)


def read_last_bytes(path: Path, bytes_max: int) -> bytes:
    """The last kept bytes of the output, at most `bytes_max`; empty when there is no such file."""
    size = written_size(path)
    return read_bytes(path, size - min(bytes_max, size), size)


def fits_in(path: Path, bytes_max: int) -> bool:
    """Whether the whole output was kept and fits into `bytes_max` bytes."""
    return kept_size(path) == written_size(path) <= bytes_max


def _describe_files(path: Path, size: int, kept: int) -> str:
    files = " and ".join(map(str, (part for _, part in stream_files(path))))
    if kept == size:
        return f"all {size} bytes are in {files}"
    return f"{size - kept} of {size} bytes were not kept, the rest is in {files}"


def _clean(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "\N{SYMBOL FOR NULL}")


def _tail(text: str, bytes_max: int) -> str:
    raw = text.encode()
    return raw[max(0, len(raw) - bytes_max) :].decode("utf-8", "ignore")
