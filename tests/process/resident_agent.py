"""A resident agent: one process that claims its tasks itself, with `greenroom wait-for-task`.

It writes its process id when it begins, and the text and attempt of each task, to a file in `RESIDENT_FOLDER`.
A first attempt at a task with the text `hang` waits until a file `go` exists.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

GREENROOM = [sys.executable, "-m", "greenroom"]
FOLDER = Path(os.environ["RESIDENT_FOLDER"])


def note(line: str) -> None:
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{os.getpid()} {line}\n")


def main() -> int:
    room, role = os.environ["GREENROOM_ROOM"], os.environ["GREENROOM_ROLE"]
    wait = [*GREENROOM, "wait-for-task", room, "--role", role, "--json", "--timeout", "2", "--take-over"]
    note("began")
    while True:
        claimed = subprocess.run(wait, stdout=subprocess.PIPE, check=False)
        if claimed.returncode == 75:
            continue
        if claimed.returncode != 0:
            return 9
        task = json.loads(claimed.stdout)["task"]
        note(f"{task['text']} {task['attempt']}")
        # The first call finds its task by the environment, the second names it.
        subprocess.run([*GREENROOM, "task-started"], stdout=subprocess.DEVNULL, check=True)
        if task["text"] == "hang" and task["attempt"] == 1:
            while not (FOLDER / "go").exists():
                time.sleep(0.05)
        named = ["--task", task["id"], "--attempt", str(task["attempt"])]
        complete = [*GREENROOM, "task-complete", *named, f"did {task['text']}"]
        subprocess.run(complete, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    raise SystemExit(main())
