"""Prepares a command: builds its environment from a list of allowed variables, and checks that its program can be run.

The environment is never inherited as a whole: what a daemon was started with (other tokens, the address of a
development server, the variables of the agent that started it) must not reach the agents that it runs.
"""

import os
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from greenroom.domain.errors import ConfigurationError

ALLOWED_VARIABLES = frozenset(
    {
        "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
        # Directories where programs keep their files.
        "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
        # Trusted certificates.
        "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR", "SSL_CERT_FILE",
    }
)  # fmt: skip
ALLOWED_PREFIX = "LC_"
ANY_EXECUTE = 0o111
ENV = "env"
FIRST_LINE_BYTES_MAX = 256
"""As much of a script as Linux reads to find its interpreter."""


def child_environment(parent: Mapping[str, str], additions: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: the allowed variables of `parent`, and all `additions`, which take precedence."""
    kept = {
        name: value for name, value in parent.items() if name in ALLOWED_VARIABLES or name.startswith(ALLOWED_PREFIX)
    }
    kept.setdefault("PATH", os.defpath)
    return kept | dict(additions)


def check_program(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    """Raise ConfigurationError when there is no such program, or when it cannot be run: the error says which, and why.

    To be called before a task is taken for it.
    """
    error = find_error(command[0], cwd, env, lambda path: find_file_error(path) or find_script_error(path, cwd, env))
    if error is not None:
        raise error


def find_error(
    name: str, cwd: Path, env: Mapping[str, str], find_error_of: Callable[[Path], ConfigurationError | None]
) -> ConfigurationError | None:
    """The error of the first file that the name may stand for; None if one of these files has none."""
    folders = [""] if os.sep in name else env.get("PATH", os.defpath).split(os.pathsep)
    present = [path for path in (cwd / folder / name for folder in folders if name) if os.path.lexists(path)]
    if not present:
        where = "" if os.path.isabs(name) else f" in {cwd}" if os.sep in name else " in PATH"
        return ConfigurationError(f"There is no program {name!r}{where}.", "Install it, or correct the command.")
    errors = [find_error_of(path) for path in present]
    return None if None in errors else errors[0]


def find_file_error(path: Path) -> ConfigurationError | None:
    """The error that keeps a file from being executed at all; None if there is none."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        link = f" (a link to {os.readlink(path)})" if path.is_symlink() else ""
        return ConfigurationError(
            f"{path}{link} cannot be run: {error.strerror}.", "Restore that file, or correct the command."
        )
    if stat.S_ISDIR(mode):
        return ConfigurationError(
            f"{path} is a folder, not a program.", "Name the program in it, or correct the command."
        )
    if not stat.S_ISREG(mode):
        return ConfigurationError(f"{path} is no regular file, so it cannot be run.", "Correct the command.")
    if os.access(path, os.X_OK):
        return None
    if not mode & ANY_EXECUTE:
        return ConfigurationError(
            f"{path} is there, but it is not executable (mode {stat.S_IMODE(mode):04o}).",
            f"Make it executable: chmod +x {shlex.quote(str(path))}. Or correct the command.",
        )
    return ConfigurationError(
        f"{path} is there, but this user may not execute it (mode {stat.S_IMODE(mode):04o}).",
        "Check its owner, and whether its file system is mounted with `noexec`. Or correct the command.",
    )


def find_script_error(path: Path, cwd: Path, env: Mapping[str, str]) -> ConfigurationError | None:
    """The error in the first line of a script, as the system reads it; None if there is none, or if it is no script."""
    try:
        with open(path, "rb") as file:
            first, newline, _ = file.read(FIRST_LINE_BYTES_MAX).partition(b"\n")
    except OSError:
        return None  # it may be executed, but not read
    line = os.fsdecode(first)
    if not line.startswith("#!"):
        return None
    if newline and line.endswith("\r"):
        return ConfigurationError(
            f"{path} cannot be run: its first line {line!r} ends with a carriage return, as lines do on Windows.",
            f"Convert its line ends: sed -i 's/\\r$//' {shlex.quote(str(path))}",
        )
    interpreter, *words = line[2:].split(None, 1) or [""]
    error = find_error(os.path.join(".", interpreter), cwd, env, find_file_error) if interpreter else None
    if error is None and os.path.basename(interpreter) == ENV and words and not words[0].startswith("-"):
        error = find_error(words[0].rstrip(), cwd, env, find_file_error)
    if error is None:
        return None
    return ConfigurationError(
        f"{path} cannot be run by the interpreter in its first line {line!r}: {error.detail}",
        "Install that interpreter, or correct the first line.",
    )


def find_program_error(
    command: Sequence[str], env: Mapping[str, str], environ: Mapping[str, str]
) -> ConfigurationError | None:
    """The error that keeps a command from being started in any directory; None if there is none.

    A program with a path relative to its working directory is not checked: that directory is known only later.
    """
    program = command[0]
    if os.sep in program and not os.path.isabs(program):
        return None
    try:
        check_program(command, Path(os.sep), child_environment(environ, env))
    except ConfigurationError as error:
        return error
    return None
