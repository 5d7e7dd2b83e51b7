"""Prepares a command: builds its environment from a list of allowed variables, and checks that its program exists.

The environment is never inherited as a whole: what a daemon was started with (other tokens, the address of a
development server, the variables of the agent that started it) must not reach the agents that it runs.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
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


def child_environment(parent: Mapping[str, str], additions: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: the allowed variables of `parent`, and all `additions`, which take precedence."""
    kept = {
        name: value for name, value in parent.items() if name in ALLOWED_VARIABLES or name.startswith(ALLOWED_PREFIX)
    }
    kept.setdefault("PATH", os.defpath)
    return kept | dict(additions)


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
