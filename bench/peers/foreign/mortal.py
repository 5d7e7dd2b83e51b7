"""A task that lives until it is killed, and when it is run again ends at once. Must not know by whom it is run.

`python mortal.py LISTENER` lives for the task that Greenroom names in its environment.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path

LIFE_S = 900.0


def live(key: str, listener: str) -> None:
    """Say who runs it and since when, by the clock that all processes of a machine share; the first time, stay."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.sendto(json.dumps({"key": key, "pid": os.getpid(), "at": time.monotonic()}).encode(), listener)
    mark = Path(f"{listener}.{key}")
    if not mark.exists():
        mark.touch()
        time.sleep(LIFE_S)


if __name__ == "__main__":
    live(os.environ["GREENROOM_TASK"], sys.argv[1])
