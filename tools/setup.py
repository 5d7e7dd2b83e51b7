"""Installs what this checkout needs into `.venv`, by the lock: `python3 tools/setup.py run|dev`. Says what it does.

`run` is what the product and its example team need, `dev` the tools of tests and checks as well. What is installed
already is left alone, so that `make` may call this every time. Two calls in one checkout take turns: the second waits,
and finds the work done. Only the standard library is needed, and pip.
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
"""The dependency groups of each kind, from `pyproject.toml`."""

PYTHON_MIN = (3, 11)
UV_WANTED = "uv>=0.9,<1"
STILL_AT_IT_S = 10
OUTPUT_SHOWN = 4000


class Failed(Exception):
    """A step failed; the text says what to do next."""


def main(arguments: Sequence[str]) -> int:
    if list(arguments) not in [[kind] for kind in GROUPS]:
        print(f"usage: python3 tools/setup.py {'|'.join(GROUPS)}", file=sys.stderr)
        return 2
    if sys.version_info < PYTHON_MIN:
        found = sys.version.split()[0]
        say(f"Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer is needed, and {sys.executable} is {found};")
        say("name a newer one: make PYTHON=/path/to/python3.11 ...")
        return 1
    try:
        with turn():
            install(arguments[0])
    except Failed as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command goes on where it stopped")
        return 130
    return 0


@contextmanager
def turn() -> Iterator[None]:
    """One at a time installs into this checkout. The lock is on the folder itself, and ends with its process."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another setup is at work in this checkout; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def install(kind: str) -> None:
    """Bring `.venv` to where `kind` is in it, in as few steps as that takes."""
    wanted, found = stamp(kind), installed()
    if found in (wanted, stamp("dev")):
        subprocess.run([str(PYTHON), "-m", "compileall", "-q", "src"], cwd=ROOT, check=False)
        return
    install_uv()
    if found != stamp("run"):
        step("making .venv", [UV, "venv", "--quiet", "--clear", "--python", sys.executable, VENV])
    marker().unlink(missing_ok=True)
    groups = [word for name in GROUPS[kind] for word in ("--group", name)]
    pip = [UV, "pip", "install", "--quiet", "--python", PYTHON]
    step(
        "installing what Greenroom needs" if kind == "run" else "installing the tools of tests and checks",
        # The lock pins every version by hash; the project and its groups say which of them are wanted.
        # Compiled here: where PYTHONDONTWRITEBYTECODE is set, every process would compile its imports again.
        [*pip, "--require-hashes", "--compile-bytecode", "--constraint", LOCK, "--requirement", PROJECT, *groups],
    )
    if found != stamp("run"):  # else it is there, and may be at work
        step("installing Greenroom", [*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    step("compiling Greenroom", [PYTHON, "-m", "compileall", "-q", "src"])
    marker().write_text(wanted)
    say("ready")


def install_uv() -> None:
    """Bring the installer, which needs no home folder and no place in the system's Python (PEP 668)."""
    if UV.exists() and subprocess.run([str(UV), "--version"], capture_output=True, check=False).returncode == 0:
        return
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
        raise Failed("pip is missing: install it (Debian: apt install python3-pip python3-venv)")
    quiet = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--upgrade")
    step("fetching the installer", [*pip, "install", *quiet, "--target", UV.parents[1], UV_WANTED])


def step(what: str, command: Sequence[object]) -> None:
    """Run one command, saying what it is for, and again and again that it still runs. Raises Failed."""
    say(what)
    words = [str(word) for word in command]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        output, waited_s = None, 0
        while output is None:
            try:
                output, _ = process.communicate(timeout=STILL_AT_IT_S)
            except subprocess.TimeoutExpired:
                waited_s += STILL_AT_IT_S
                say(f"still {what} ({waited_s} s)")
            except BaseException:
                process.terminate()
                raise
    if process.returncode != 0:
        print(output[-OUTPUT_SHOWN:], file=sys.stderr)
        raise Failed(
            f"{what} failed; what it said stands above. When that is mended, the same command goes on from here."
        )


def marker() -> Path:
    return VENV / "ready"


def installed() -> str | None:
    """What the last setup has finished; None where there was none, or its Python is gone."""
    try:
        return marker().read_text() if PYTHON.exists() else None
    except OSError:
        return None


def stamp(kind: str) -> str:
    """What a finished setup leaves: the place, since a virtual environment names its own, the files, and the kind."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in (PROJECT, LOCK))).hexdigest()
    return f"{ROOT}\n{digest}\n{kind}\n"


def say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
