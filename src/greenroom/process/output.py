"""Reads the output of a command back, as text of a limited size."""

from pathlib import Path

from greenroom.process.journal import bytes_of, kept_of, parts_of, size_of


def text_of(path: Path, bytes_max: int) -> str:
    """The output as text of at most `bytes_max` bytes: head and tail if it is longer, with the names of the files.

    Bytes that are not UTF-8 are replaced, and so is U+0000, which no text of Greenroom may contain.
    """
    size, kept = size_of(path), kept_of(path)
    if size <= bytes_max and kept == size:
        text = _clean(bytes_of(path, 0, size))
        if len(text.encode()) <= bytes_max:  # a replaced byte takes three
            return text
    remark = f"\n[... the middle is cut here; {_describe_files(path, size, kept)} ...]\n"
    half = min(max(0, bytes_max - len(remark.encode())), size) // 2
    head = _clean(bytes_of(path, 0, half)).encode()[:half]
    tail = _tail(_clean(bytes_of(path, size - half, size)), half)
    return head.decode("utf-8", "ignore") + remark + tail


def tail_of(path: Path, bytes_max: int) -> str:
    """The end of the output as text of at most `bytes_max` bytes; empty when there is no such file."""
    return _tail(_clean(end_of(path, bytes_max)), bytes_max)


def end_of(path: Path, bytes_max: int) -> bytes:
    """The last kept bytes of the output, at most `bytes_max`; empty when there is no such file."""
    size = size_of(path)
    return bytes_of(path, size - min(bytes_max, size), size)


def is_whole_in(path: Path, bytes_max: int) -> bool:
    """Whether the whole output was kept and fits into `bytes_max` bytes."""
    return kept_of(path) == size_of(path) <= bytes_max


def _describe_files(path: Path, size: int, kept: int) -> str:
    files = " and ".join(map(str, (part for _, part in parts_of(path))))
    if kept == size:
        return f"all {size} bytes are in {files}"
    return f"{size - kept} of {size} bytes were not kept, the rest is in {files}"


def _clean(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "\N{SYMBOL FOR NULL}")


def _tail(text: str, bytes_max: int) -> str:
    raw = text.encode()
    return raw[max(0, len(raw) - bytes_max) :].decode("utf-8", "ignore")
