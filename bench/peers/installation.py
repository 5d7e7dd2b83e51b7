"""Finds where the other systems are installed."""

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PEERS_DIR: Final = ROOT / ".cache" / "peers"
"""Created by `make bench` from requirements.txt beside this file; an environment of its own, with its own lock file."""


class NotInstalled(Exception):
    """A system to be measured is not installed; the text says which, and how to install it."""


def peers_python() -> str:
    """The Python interpreter that can import the other systems; raises `NotInstalled`."""
    if not (PEERS_DIR / "ready").exists():
        raise NotInstalled("not installed; run `make bench`")
    return str(PEERS_DIR / "bin" / "python")


def find_redis_server() -> str:
    """The redis-server installed with the other systems, or the one on the PATH; raises `NotInstalled`."""
    carried = PEERS_DIR / "bin" / "redis-server"
    found = str(carried) if carried.exists() else shutil.which("redis-server")
    if found is None:
        raise NotInstalled("redis-server not found; install one and add it to the PATH")
    return found
