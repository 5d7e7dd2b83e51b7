"""Runs the three programs of examples/tidy as a daemon runs them, and makes repositories for them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import PATIENCE_S

TIDY = Path(__file__).parents[2] / "examples" / "tidy"
PROGRAMS = ("surveyor", "fixer", "checker")
UNTIDY = "import os\nimport sys\n\n\ndef read_path() -> list[str]:\n    return sys.path \n"
GOOD_TEST = "from untidy import read_path\n\n\ndef test_path():\n    assert read_path()\n"


@dataclass
class ProgramRunner:
    """What a daemon gives to the programs: an environment, stdin, and a `greenroom` command that records its calls."""

    folder: Path
    calls: Path = field(init=False)
    held_flag: Path = field(init=False)

    def __post_init__(self) -> None:
        self.calls = self.folder / "calls"
        self.held_flag = self.folder / "is-held"
        self.work = self.folder / "work"
        for name in ("home", "bin"):
            (self.folder / name).mkdir(parents=True)
        command = self.folder / "bin" / "greenroom"
        command.write_text(f'#!/bin/sh\necho "$*" | tr "\\n" " " >> "{self.calls}"; echo >> "{self.calls}"\n')
        command.chmod(0o755)

    def environment(self, task: str, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "GREENROOM_WORK_DIR": str(self.work),
            "GREENROOM_TASK": task,
            "GREENROOM_ATTEMPT": "1",
            "GREENROOM_TOKEN": "do-not-tell",
            **more,
        }

    def start(self, program: str, task: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(TIDY / f"{program}.py")],
            env=self.environment(task, **more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start_and_hold(self, program: str, text: str, verb: str, task: str = "t1") -> subprocess.Popen[str]:
        """Start a program that blocks in its first call of that git command; its input is written on return."""
        git_command = self.folder / "bin" / "git"
        git_command.write_text(
            f'#!/bin/sh\nfor word; do\n[ "$word" = {verb} ] && touch "{self.held_flag}" && exec sleep 3600\ndone\n'
            f'exec "{shutil.which("git")}" "$@"\n'
        )
        git_command.chmod(0o755)
        process = self.start(program, task)
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in (self.held_flag, self.folder / "bin" / "git"):
            path.unlink(missing_ok=True)

    def run(self, program: str, text: str, task: str = "t1", **more: str) -> str:
        """Run a program that should do its task; return its result."""
        process = self.start(program, task, **more)
        output, errors = process.communicate(text, timeout=PATIENCE_S)
        assert process.returncode == 0, errors
        assert output, errors
        return output

    def run_all(self, message: str, task: str = "t1", **more: str) -> str:
        text = message
        for program in PROGRAMS:
            text = self.run(program, text, task, **more)
        return text

    def run_declining(self, program: str, text: str) -> str:
        """Run a program that should decline; return the recorded call with its reason."""
        process = self.start(program, "t1")
        output, errors = process.communicate(text, timeout=PATIENCE_S)
        assert (process.returncode, output) == (0, ""), errors
        reason = self.calls.read_text().splitlines()[-1]
        assert reason.startswith("decline ")
        return reason


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=A Person", "-c", "user.email=person@example.invalid")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def make_repository(folder: Path, **files: str) -> Path:
    """Make a repository with one commit; `a__b` in a keyword stands for the path a/b."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "begin")
    return folder


def commit_file(repository: Path, name: str, text: str) -> None:
    (repository / name).write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", name)


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below the folder, git's own included, with a hash of its content."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_plan(text: str) -> dict[str, object]:
    plan = json.loads(text.split("```json\n")[1].split("\n```")[0])
    assert isinstance(plan, dict)
    return plan
