"""Reads a TOML file into a record, strictly, and replaces the placeholders in it: `{python}`, `{here}` and `~`.

Errors name the file and the key.
"""

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from greenroom.domain.errors import ConfigurationError
from greenroom.settings.paths import expand_home
from greenroom.settings.suggest import suggest_name

Record = TypeVar("Record", bound=msgspec.Struct)


def read_toml(path: Path, kind: type[Record]) -> Record:
    """Read the file at `path` as a `kind`. Raises ConfigurationError that names the file and the key."""
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))  # some editors begin a file with a byte order mark
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}.", "Correct the path or its permissions."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except RecursionError:
        raise ConfigurationError(f"{path} is nested too deeply.", "Take some brackets out of it.") from None
    except ValueError as error:  # of TOML itself, or of a number that Python does not read
        raise ConfigurationError(f"{path} is not TOML: {error}.", "Correct the file; strings need quotes.") from None
    return convert_table(path, content, kind, "")


def convert_table(path: Path, content: Mapping[str, Any], kind: type[Record], prefix: str) -> Record:
    """Convert a table to a `kind`. Inner tables are converted first, each by itself, so that an error names its key."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in content.items():
        if key not in fields:
            raise key_error(path, prefix + key, "unknown key", suggest_name(key, fields))
        record = find_struct(fields[key])
        if record is None or not isinstance(value, Mapping):
            continue
        tables = (
            {f"{key}.{name}": table for name, table in value.items()} if has_chosen_keys(fields[key]) else {key: value}
        )
        for name, table in tables.items():
            if isinstance(table, Mapping):
                convert_table(path, table, record, f"{prefix}{name}.")
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        problem, _, location = str(error).partition(" - at `$")
        key = (prefix + location.rstrip("`").lstrip(".")).rstrip(".")
        problem = problem.replace("array", "list").replace(" | null", "")
        raise key_error(path, key or "the file", f"{problem[:1].lower()}{problem[1:]}", "Correct the value.") from None


def find_struct(annotation: Any) -> type[msgspec.Struct] | None:
    """The record inside `Record`, `Record | None` or `dict[str, Record]`; None where there is none."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


def has_chosen_keys(annotation: Any) -> bool:
    """Whether the keys of this value are names that users chose."""
    return getattr(annotation, "__origin__", None) is dict


def key_error(path: Path, key: str, what: str, guidance: str) -> ConfigurationError:
    """The error for one key of one file."""
    return ConfigurationError(f"{path}: `{key}`: {what}.", guidance)


def resolve_path(text: str, here: Path) -> str:
    """Resolve a path of the file to an absolute one."""
    return str((here / expand_home(replace_placeholders(text, here))).absolute())


def replace_in_env(env: Mapping[str, str], here: Path) -> dict[str, str]:
    return {name: replace_placeholders(value, here) for name, value in env.items()}


def replace_in_words(command: tuple[str, ...], here: Path) -> tuple[str, ...]:
    return tuple(replace_placeholders(word, here) for word in command)


def replace_in_command(command: tuple[str, ...], here: Path) -> tuple[str, ...]:
    """Replace the placeholders in a command, and `~/` at the start of its program."""
    program, *words = replace_in_words(command, here)
    return (str(expand_home(program)) if program.startswith("~/") else program, *words)


def replace_placeholders(text: str, here: Path) -> str:
    """Replace `{python}` by the path of this interpreter, and `{here}` by the folder of the file."""
    return text.replace("{python}", sys.executable).replace("{here}", str(here))
