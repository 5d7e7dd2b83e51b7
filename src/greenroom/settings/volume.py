"""How much of a disk's room something takes. Must not know what it is."""

import os


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of a file, or of all files below a folder; what goes away meanwhile counts nothing."""
    try:
        if not os.path.isdir(path):
            return os.stat(path).st_size
        with os.scandir(path) as found:
            return sum(size_of(each) for each in found if not each.is_symlink())
    except OSError:
        return 0
