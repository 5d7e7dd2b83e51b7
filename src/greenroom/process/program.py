"""Checks whether the program of a command exists."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenroom.domain.errors import ConfigurationError
from greenroom.process.environment import child_environment


def check_program(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    """Raise ConfigurationError when there is no such program. To be called before a task is taken for it."""
    name = command[0]
    if os.sep in name:
        found = shutil.which(cwd / name)
    else:
        folders = env.get("PATH", os.defpath).split(os.pathsep)
        found = shutil.which(name, path=os.pathsep.join(str(cwd / folder) for folder in folders))
    if found is None:
        where = "" if os.path.isabs(name) else f" in {cwd}" if os.sep in name else " in PATH"
        raise ConfigurationError(f"There is no program {name!r}{where}.", "Install it, or correct the command.")


def hindrance(command: Sequence[str], env: Mapping[str, str], environ: Mapping[str, str]) -> ConfigurationError | None:
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
