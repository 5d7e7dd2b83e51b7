"""Replaces the placeholders in a settings file: `{python}`, `{here}` and `~`."""

import sys
from collections.abc import Mapping
from pathlib import Path


def settle_path(text: str, here: Path) -> str:
    """Resolve a path of the file to an absolute one."""
    return str((here / Path(fill(text, here)).expanduser()).absolute())


def fill_env(env: Mapping[str, str], here: Path) -> dict[str, str]:
    return {name: fill(value, here) for name, value in env.items()}


def fill_all(command: tuple[str, ...], here: Path) -> tuple[str, ...]:
    return tuple(fill(word, here) for word in command)


def fill_command(command: tuple[str, ...], here: Path) -> tuple[str, ...]:
    """Replace the placeholders in a command, and `~/` at the start of its program."""
    program, *words = fill_all(command, here)
    return (str(Path(program).expanduser()) if program.startswith("~/") else program, *words)


def fill(text: str, here: Path) -> str:
    """Replace `{python}` by the path of this interpreter, and `{here}` by the folder of the file."""
    return text.replace("{python}", sys.executable).replace("{here}", str(here))
