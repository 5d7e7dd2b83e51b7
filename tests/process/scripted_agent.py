"""A scripted agent: reads the task's text from stdin, does what its words say, and prints a result.

It knows Greenroom only by its environment, and records its beginning and its end in `journal`, one line of JSON each.

    hold:NAME   wait until a file NAME exists in the folder
    fork        start a child that has a child, both of which ignore SIGTERM
    escape      start an orphan in a session of its own, without environment, and record its number
    fail:N      fail in attempts 1 to N
    big         print 3 MiB
    own:ROLE    hand off to that role by running `greenroom handoff`
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["SCRIPTED_AGENT_FOLDER"])
LOOK_EVERY_S = 0.02
STUBBORN = "trap '' TERM; sleep 3600 & sleep 3600"
"""An ignored signal stays ignored in child processes. None of them ends by itself, so that they can be counted."""


def main() -> int:
    text = sys.stdin.read()
    record("begins", text)
    for word in text.split():
        verb, _, value = word.partition(":")
        if verb == "hold":
            while not (FOLDER / value).exists():
                time.sleep(LOOK_EVERY_S)
        elif verb == "fork":
            subprocess.Popen(["sh", "-c", STUBBORN], stdin=subprocess.DEVNULL)
            record("forked", text)
        elif verb == "escape":
            command = ["sh", "-c", "sleep 3600 <&- >/dev/null 2>&1 & echo $!"]
            escaped = subprocess.run(command, start_new_session=True, env={}, stdout=subprocess.PIPE, check=True)
            record(f"escaped as {int(escaped.stdout)}", text)
        elif verb == "fail" and int(os.environ["GREENROOM_ATTEMPT"]) <= int(value):
            print(f"the saw broke on attempt {os.environ['GREENROOM_ATTEMPT']}", file=sys.stderr)
            record("fails", text)
            return 7
        elif verb == "big":
            print("head" + "x" * 3 * 1024 * 1024 + "tail")
        elif verb == "own":
            completed = subprocess.run(
                [sys.executable, "-m", "greenroom", "handoff", "--to", value, "by my own call"], check=False
            )
            record(f"handed off with {completed.returncode}", text)
    print(f"did {text.strip()}")
    sys.stdout.flush()
    record("ends", text)
    return 0


def record(kind: str, text: str) -> None:
    """Append a line in one write, so that lines of other processes cannot interleave."""
    line = {
        "kind": kind,
        "text": text.strip(),
        "role": os.environ.get("GREENROOM_ROLE"),
        "task": os.environ.get("GREENROOM_TASK"),
        "attempt": int(os.environ.get("GREENROOM_ATTEMPT", "0")),
        "pid": os.getpid(),
        "at": time.monotonic(),
    }
    journal = os.open(FOLDER / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(journal, (json.dumps(line) + "\n").encode())
    os.close(journal)


if __name__ == "__main__":
    sys.exit(main())
