"""Manages the private copy of a job, and runs git and ruff there.

The copy is a clone that shares the objects of the named repository (`git clone --shared`), not a linked worktree: a
linked worktree adds entries, objects, locks and hooks to the user's `.git`, which would remain after a kill, and tests
that call git could change the user's branches. A clone leaves only a folder of our own, and two jobs on one repository
share no lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from room import CommandFailed, Refused

KEPT_S = 7 * 24 * 3600
# Rules whose fixes keep the meaning of the code; used only for files without a ruff configuration in the repository.
RUFF_SETTINGS = f"""\
target-version = "py3{sys.version_info.minor}"
[lint]
select = ["E4", "E7", "E9", "F", "W291", "W292", "W293", "W605"]
"""
GIT_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "user.name=Greenroom tidy",
    "user.email=tidy@greenroom.invalid",
)


class Workspace:
    """The folder of one job: the private copy, and the files that are kept after the copy is removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copy = folder / "copy"
        self.diff = folder / "tidy.diff"
        self.report = folder / "report.md"

    def make_copy(self, repository: Path, base: str) -> None:
        """Start the job from scratch: replaces the files of an earlier attempt."""
        self.remove_copy()
        for left_over in (self.diff, self.report):
            left_over.unlink(missing_ok=True)
        # Ruff uses the nearest configuration above a file: the repository's own if it has one, else this one, and so
        # never one in the home folder.
        (self.folder / "ruff.toml").write_text(RUFF_SETTINGS, encoding="utf-8")
        git(self.folder, "clone", "--quiet", "--shared", "--no-checkout", "--template=", "--origin=origin",
            "--", str(repository), str(self.copy))  # fmt: skip
        git(self.copy, "remote", "remove", "origin")
        self.go_to(base)

    def go_to(self, commit: str) -> None:
        """Check out exactly that commit. Removes git's locks: only a killed attempt can have left them.

        Raises Refused if the copy does not exist.
        """
        if not (self.copy / ".git").is_dir():
            raise Refused(f"The working copy {self.copy} no longer exists. Send the request again to start over.")
        for lock in (self.copy / ".git").glob("*.lock"):
            lock.unlink(missing_ok=True)
        git(self.copy, "checkout", "--quiet", "--force", "--detach", commit)
        git(self.copy, "clean", "--quiet", "-ffdx")

    def save(self, path: Path, text: str) -> None:
        """Write a file atomically."""
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8", errors="replace")
        unfinished.replace(path)

    def remove_copy(self) -> None:
        for folder, subfolders, _ in os.walk(self.copy):
            for path in (Path(folder, name) for name in subfolders):
                if not path.is_symlink():
                    path.chmod(0o700)  # tests may leave read-only folders
        if self.copy.exists():
            shutil.rmtree(self.copy)


@contextmanager
def open_workspace(job: str) -> Iterator[Workspace]:
    """Lock the job's folder; waits for an attempt that still runs (the task's time limit ends the wait)."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", job) is None:
        raise Refused(f"{job!r} is not a valid job name. Send the path of the repository to the surveyor.")
    folder = work_folder() / job
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Workspace(folder)


def work_folder() -> Path:
    configured = os.environ.get("GREENROOM_WORK_DIR")
    if configured:
        return Path(configured).absolute()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", "greenroom", "tidy")


def remove_old_jobs(newest: Path) -> None:
    """Remove the folders of jobs that were not used for a week, such as those whose task was cancelled."""
    now = newest.stat().st_mtime
    for folder in newest.parent.iterdir():
        if folder.is_dir() and now - folder.stat().st_mtime > KEPT_S:
            shutil.rmtree(folder, ignore_errors=True)


def git(folder: Path, *arguments: str) -> str:
    settings = [word for setting in GIT_SETTINGS for word in ("-c", setting)]
    return _run(["git", *settings, *arguments], folder, allowed=(0,))


def ruff(folder: Path, *arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
    return _run([sys.executable, "-m", "ruff", *arguments], folder, allowed)


def plain_environment() -> dict[str, str]:
    """The variables that a program needs to run, without Greenroom's token and address."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
    return {name: os.environ[name] for name in names if name in os.environ}


def _run(command: list[str], folder: Path, allowed: tuple[int, ...]) -> str:
    # No prompt may block an unattended run, and tidying Python does not need large files (LFS).
    fixed = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C.UTF-8"}
    description = f"`{' '.join(command)}` in {folder}"
    environment = plain_environment() | fixed
    try:
        process = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        raise CommandFailed(f"{description} could not be started: {error}") from error
    if process.returncode not in allowed:
        stderr = process.stderr.decode("utf-8", "replace").strip()
        raise CommandFailed(f"{description} exited with {process.returncode}: {stderr}")
    return process.stdout.decode("utf-8", "replace")
