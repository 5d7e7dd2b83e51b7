"""Knows the private copy in which a job is done, and how git and ruff are run there; knows no room and no plan.

The copy is a clone that borrows the objects of the named repository (`git clone --shared`), and no linked worktree of
it: a linked worktree puts entries, objects, locks and hooks into the user's `.git`, where a kill at a bad moment leaves
them lying, and tests that call git would reach the user's branches. Of a clone nothing is left but a folder of ours,
and two jobs on one repository share no lock.
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
# Rules whose fixes leave the meaning alone; used only for files that no ruff configuration of the repository governs.
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
    """The folder of one job: the private copy, and what is kept when the copy is gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copy = folder / "copy"
        self.diff = folder / "tidy.diff"
        self.report = folder / "report.md"

    def make_copy(self, repository: Path, base: str) -> None:
        """Begin the job anew, whatever an earlier attempt left behind."""
        self.remove_copy()
        for left_over in (self.diff, self.report):
            left_over.unlink(missing_ok=True)
        # Ruff takes the nearest configuration above a file: the repository's own where it has one, else this one,
        # and never one that happens to lie in the home folder.
        (self.folder / "ruff.toml").write_text(RUFF_SETTINGS, encoding="utf-8")
        git(self.folder, "clone", "--quiet", "--shared", "--no-checkout", "--template=", "--origin=origin",
            "--", str(repository), str(self.copy))  # fmt: skip
        git(self.copy, "remote", "remove", "origin")
        self.go_to(base)

    def go_to(self, commit: str) -> None:
        """Make the copy exactly that commit. Locks found here are of an attempt that was killed: we hold the job."""
        if not (self.copy / ".git").is_dir():
            raise Refused(f"The working copy {self.copy} is gone. Send the request again, to begin anew.")
        for lock in (self.copy / ".git").glob("*.lock"):
            lock.unlink(missing_ok=True)
        git(self.copy, "checkout", "--quiet", "--force", "--detach", commit)
        git(self.copy, "clean", "--quiet", "-ffdx")

    def save(self, path: Path, text: str) -> None:
        """Write a file wholly or not at all."""
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8", errors="replace")
        unfinished.replace(path)

    def remove_copy(self) -> None:
        for folder, subfolders, _ in os.walk(self.copy):
            for path in (Path(folder, name) for name in subfolders):
                if not path.is_symlink():
                    path.chmod(0o700)  # tests leave folders that may not be written
        if self.copy.exists():
            shutil.rmtree(self.copy)


@contextmanager
def open_workspace(job: str) -> Iterator[Workspace]:
    """Hold the job's folder; an attempt that still runs is waited for (the task's time limit ends the wait)."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", job) is None:
        raise Refused(f"{job!r} cannot name a job. Send the path of the repository to the surveyor.")
    folder = work_folder() / job
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Workspace(folder)


def work_folder() -> Path:
    chosen = os.environ.get("GREENROOM_WORK_DIR")
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", "greenroom", "tidy")


def remove_old_jobs(newest: Path) -> None:
    """Remove what jobs left that nobody touched for a week, such as those whose task was cancelled half-way."""
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
    """What a program needs to run, and nothing of Greenroom's: no token, no address."""
    wanted = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
    return {name: os.environ[name] for name in wanted if name in os.environ}


def _run(command: list[str], folder: Path, allowed: tuple[int, ...]) -> str:
    # No prompt may hang an unattended run, and large files need not be fetched to tidy Python.
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C.UTF-8"}
    shown = f"`{' '.join(command)}` in {folder}"
    environment = plain_environment() | quiet
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as trouble:
        raise CommandFailed(f"{shown} could not be started: {trouble}") from trouble
    if done.returncode not in allowed:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise CommandFailed(f"{shown} ended with {done.returncode}: {said}")
    return done.stdout.decode("utf-8", "replace")
