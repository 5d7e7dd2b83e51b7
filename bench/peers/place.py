"""Where the peers are installed. Must not know how any of them is run."""

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PLACE: Final = ROOT / ".cache" / "peers"
"""Made by `make bench` from requirements.txt beside this file; an environment of its own, so that no lock is shared."""


class Missing(Exception):
    """Something that is to be measured is not installed here; the text says what, and how it comes here."""


def python() -> str:
    """The interpreter that can import the peers."""
    if not (PLACE / "ready").exists():
        raise Missing("not installed here; `make bench` does it")
    return str(PLACE / "bin" / "python")


def redis_server() -> str:
    """The server of Redis: the one that came with the peers, or the machine's own."""
    carried = PLACE / "bin" / "redis-server"
    found = str(carried) if carried.exists() else shutil.which("redis-server")
    if found is None:
        raise Missing("redis-server is not here; put one on the PATH")
    return found
