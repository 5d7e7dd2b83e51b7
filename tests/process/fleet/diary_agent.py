"""A scripted agent that keeps a diary: when it began, that it still works, when it ended.

The words of the task say what it does; unknown words are ignored.

    until:NAME   work until a file NAME exists among the gates
    for:SECONDS  work for so long
    fail:N       fail in attempts 1 to N
    fork         start a child that has a child, both of which ignore SIGTERM
    write:BYTES  print so many bytes

Each process has a diary of its own, one line of JSON for each entry, outside of everything that Greenroom stores.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

STEP_S = 0.1
FOLDER = Path(os.environ["DIARIES"])
TASK, ATTEMPT = os.environ.get("GREENROOM_TASK", "none"), int(os.environ.get("GREENROOM_ATTEMPT", "0"))
NOTES = os.environ.get("GREENROOM_NOTES")
STUBBORN = "trap '' TERM; sleep 3600 & sleep 3600"
DIARY = os.open(FOLDER / f"{TASK}.{ATTEMPT}.{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def main() -> int:
    record("begins")
    for word in sys.stdin.read().split():
        verb, _, value = word.partition(":")
        if verb == "until":
            while not (FOLDER / "gates" / value).exists():
                work()
        elif verb == "for":
            ends_at = time.monotonic() + float(value)
            while time.monotonic() < ends_at:
                work()
        elif verb == "fork":
            subprocess.Popen(["sh", "-c", STUBBORN], stdin=subprocess.DEVNULL)
        elif verb == "write":
            print("x" * int(value), flush=True)
        elif verb == "fail" and int(value) >= ATTEMPT:
            record("fails")
            return 7
    print(f"did {TASK} in attempt {ATTEMPT}")
    sys.stdout.flush()
    record("ends")
    return 0


def work() -> None:
    """Do one step, then read the notes that users sent."""
    time.sleep(STEP_S)
    notes = Path(NOTES).read_text("utf-8") if NOTES and Path(NOTES).exists() else ""
    record("works", notes=notes)


def record(kind: str, **more: str) -> None:
    """Append a line. The wall clock is the same for all processes of a computer, in whatever namespace."""
    line = {
        "kind": kind,
        "task": TASK,
        "attempt": ATTEMPT,
        "machine": os.environ["MACHINE"],
        "role": os.environ.get("GREENROOM_ROLE"),
        "connection": os.environ.get("GREENROOM_CONNECTION"),
        "pid": os.getpid(),
        "at": time.time(),
        **more,
    }
    os.write(DIARY, (json.dumps(line) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
