"""What stands for something else in a file of settings, filled in. Must not know which settings there are."""

import sys
from collections.abc import Mapping
from pathlib import Path


def settle_path(text: str, here: Path) -> str:
    """Spell a path of the file as an absolute one."""
    return str((here / Path(fill(text, here)).expanduser()).absolute())


def fill_env(env: Mapping[str, str], here: Path) -> dict[str, str]:
    return {name: fill(value, here) for name, value in env.items()}


def fill_all(command: tuple[str, ...], here: Path) -> tuple[str, ...]:
    return tuple(fill(word, here) for word in command)


def fill_command(command: tuple[str, ...], here: Path) -> tuple[str, ...]:
    """The command with its program found from the user's home, where it is spelled so."""
    program, *words = fill_all(command, here)
    return (str(Path(program).expanduser()) if program.startswith("~/") else program, *words)


def fill(text: str, here: Path) -> str:
    """Fill in `{python}`, this very interpreter, and `{here}`, the folder of the file."""
    return text.replace("{python}", sys.executable).replace("{here}", str(here))
