"""Knows whether a command can be started at all. Must not know who would run it, or for what."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenroom.domain.errors import ConfigurationError


def check_program(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
    """Raise ConfigurationError when there is no such program. Whoever could run nothing must take no task."""
    name = command[0]
    if os.sep in name:
        found = shutil.which(cwd / name)
    else:
        places = env.get("PATH", os.defpath).split(os.pathsep)
        found = shutil.which(name, path=os.pathsep.join(str(cwd / place) for place in places))
    if found is None:
        where = "" if os.path.isabs(name) else f" in {cwd}" if os.sep in name else " in PATH"
        raise ConfigurationError(f"There is no program {name!r}{where}.", "Install it, or correct the command.")
