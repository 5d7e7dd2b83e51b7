"""Knows how the output of a command is read back within bounds. Must not know what it means or who is told."""

import os
from pathlib import Path


def text_of(path: Path, bytes_max: int) -> str:
    """What the file holds as text of at most `bytes_max` bytes: head and tail where it is longer, naming the file.

    What is no UTF-8 is replaced, and so is U+0000, which no text of ours may hold.
    """
    size = path.stat().st_size
    if size <= bytes_max:
        text = _clean(path.read_bytes())
        if len(text.encode()) <= bytes_max:  # a replaced byte takes three
            return text
    remark = f"\n[... the middle is left out here; all {size} bytes are in {path} ...]\n"
    room = max(0, bytes_max - len(remark.encode()))
    half = room // 2
    with open(path, "rb") as file:
        head = _clean(file.read(half)).encode()[:half]
        file.seek(-min(half, size), os.SEEK_END)
        tail = _last(_clean(file.read()), half)
    return head.decode("utf-8", "ignore") + remark + tail


def tail_of(path: Path, bytes_max: int) -> str:
    """The end of the file as text of at most `bytes_max` bytes; empty when there is no such file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(-min(bytes_max, size), os.SEEK_END)
            return _last(_clean(file.read()), bytes_max)
    except FileNotFoundError:
        return ""


def _clean(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "\N{SYMBOL FOR NULL}")


def _last(text: str, bytes_max: int) -> str:
    raw = text.encode()
    return raw[max(0, len(raw) - bytes_max) :].decode("utf-8", "ignore")
