"""Installs the packages that this checkout needs into `.venv`, as locked: `python3 tools/setup.py run|dev|uv`.

`run` installs what the product and its example team need, `dev` also the tools for tests and checks, `uv` only the
installer. An environment that is up to date is left unchanged, so `make` may call this every time. Two calls in one
checkout take turns: the second waits, and finds the work done. Needs only the standard library and pip.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = ROOT / ".tools" / "bin" / "uv"
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
GROUPS = {"run": ("build", "example"), "dev": ("dev",)}
"""The dependency groups that each command installs, from `pyproject.toml`."""

INSTALLER = "uv"
PYTHON_MIN = (3, 11)
UV_REQUIREMENT = "uv>=0.9,<1"
PROGRESS_INTERVAL_S = 10
OUTPUT_CHARS_SHOWN = 4000


class Failed(Exception):
    """A step failed; the message says what to do next."""


def main(arguments: Sequence[str]) -> int:
    kinds = [*GROUPS, INSTALLER]
    if len(arguments) != 1 or arguments[0] not in kinds:
        print(f"usage: python3 tools/setup.py {'|'.join(kinds)}", file=sys.stderr)
        return 2
    if sys.version_info < PYTHON_MIN:
        found = sys.version.split()[0]
        log(f"{sys.executable} is Python {found}; version {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer is required")
        log("use a newer one: make PYTHON=/path/to/python3.11 ...")
        return 1
    try:
        with hold_lock() as lock_fd:
            install_uv(lock_fd) if arguments[0] == INSTALLER else install(arguments[0], lock_fd)
    except (Failed, OSError) as error:
        log(str(error))
        return 1
    except KeyboardInterrupt:
        log("interrupted; run the same command again to continue")
        return 130
    return 0


@contextmanager
def hold_lock() -> Iterator[int]:
    """Hold the lock on this checkout, so that one setup at a time installs into it. The folder itself is locked.

    Gives the descriptor, to be passed on to child processes: they keep the lock if this process is killed.
    """
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("another setup is running in this checkout; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError as error:
            log(f"this file system does not support locks ({error.strerror}): run only one setup at a time")
        yield folder
    finally:
        os.close(folder)


def install(kind: str, lock_fd: int) -> None:
    """Install `kind` into `.venv`, with only the steps that are necessary. Raises Failed."""
    found = read_stamp()
    if found in (make_stamp(kind), make_stamp("dev")):
        subprocess.run([str(PYTHON), "-m", "compileall", "-q", "src"], cwd=ROOT, check=False)
        return
    install_uv(lock_fd)
    has_runtime = found == make_stamp("run")  # and may be in use: then only the tools are added
    if not has_runtime:
        stamp_path().unlink(missing_ok=True)
        run_step("creating .venv", [UV, "venv", "--quiet", "--clear", "--python", sys.executable, VENV], lock_fd)
    groups = [option for name in GROUPS[kind] for option in ("--group", name)]
    pip = [UV, "pip", "install", "--quiet", "--python", PYTHON]
    run_step(
        "installing what Greenroom needs" if kind == "run" else "installing the tools for tests and checks",
        # The lock pins every version by hash; the project and its groups select the packages.
        # Compiled here, because where PYTHONDONTWRITEBYTECODE is set every process would compile its imports again.
        [*pip, "--require-hashes", "--compile-bytecode", "--constraint", LOCK, "--requirement", PROJECT, *groups],
        lock_fd,
    )
    if not has_runtime:
        run_step("installing Greenroom", [*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT], lock_fd)
    run_step("compiling Greenroom", [PYTHON, "-m", "compileall", "-q", "src"], lock_fd)
    stamp_path().write_text(make_stamp(kind))
    log("ready")


def install_uv(lock_fd: int) -> None:
    """Install uv into `.tools`, which needs no home folder and changes nothing in the system's Python (PEP 668)."""
    if is_runnable([str(UV), "--version"]):
        return
    pip = [sys.executable, "-m", "pip"]
    if not is_runnable([*pip, "--version"]):
        raise Failed("pip is missing: install it (Debian: apt install python3-pip)")
    options = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--upgrade")
    run_step("fetching the installer", [*pip, "install", *options, "--target", UV.parents[1], UV_REQUIREMENT], lock_fd)


def is_runnable(command: Sequence[str]) -> bool:
    """Whether a command exists, runs on this machine, and exits with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run_step(purpose: str, command: Sequence[object], lock_fd: int) -> None:
    """Run one command; print its purpose, and every 10 s that it still runs. Raises Failed."""
    log(purpose)
    arguments = [str(argument) for argument in command]
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=(lock_fd,)
    ) as process:
        output, waited_s = None, 0
        while output is None:
            try:
                output, _ = process.communicate(timeout=PROGRESS_INTERVAL_S)
            except subprocess.TimeoutExpired:
                waited_s += PROGRESS_INTERVAL_S
                log(f"still {purpose} ({waited_s} s)")
            except BaseException:
                process.terminate()
                process.wait()
                raise
    if process.returncode != 0:
        print(output[-OUTPUT_CHARS_SHOWN:], file=sys.stderr)
        raise Failed(f"{purpose} failed, see above; fix the cause, then run the same command again to continue")


def stamp_path() -> Path:
    return VENV / "ready"


def read_stamp() -> str | None:
    """The stamp of the last finished setup; None if there was none, or if its Python no longer exists."""
    try:
        return stamp_path().read_text() if PYTHON.exists() else None
    except OSError:
        return None


def make_stamp(kind: str) -> str:
    """Identifies a finished setup: the folder (environments contain its path), the Python, the lock, the kind."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in (PROJECT, LOCK))).hexdigest()
    return f"{ROOT}\nPython {sys.version_info[0]}.{sys.version_info[1]}\n{digest}\n{kind}\n"


def log(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
