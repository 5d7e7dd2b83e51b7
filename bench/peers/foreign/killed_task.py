"""A task that runs until it is killed, and ends at once when it is run again.

`python mortal.py LISTENER` is the agent of Greenroom: its key is the task in its environment.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path

RUNS_FOR_S = 900.0


def run_until_killed(key: str, listener: str) -> None:
    """Report process id and start, by the clock that all processes share; the first time, run on until killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        teller.sendto(json.dumps({"key": key, "pid": os.getpid(), "at": time.monotonic()}).encode(), listener)
    mark = Path(f"{listener}.{key}")
    if not mark.exists():
        mark.touch()
        time.sleep(RUNS_FOR_S)


if __name__ == "__main__":
    run_until_killed(os.environ["GREENROOM_TASK"], sys.argv[1])
