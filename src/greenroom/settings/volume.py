"""Measures the size of files and folders."""

import os


def size_of(path: str | os.PathLike[str]) -> int:
    """The bytes of a file, or of all files below a folder; what is removed meanwhile counts 0."""
    try:
        if not os.path.isdir(path):
            return os.stat(path).st_size
        with os.scandir(path) as entries:
            return sum(size_of(entry) for entry in entries if not entry.is_symlink())
    except OSError:
        return 0
