"""Reads a TOML file into a record, strictly. Errors name the file and the key."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from greenroom.domain.errors import ConfigurationError
from greenroom.settings.spelling import suggestion

Record = TypeVar("Record", bound=msgspec.Struct)


def read(path: Path, kind: type[Record]) -> Record:
    """Read the file at `path` as a `kind`. Raises ConfigurationError that names the file and the key."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}.", "Correct the path or its permissions."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.", "Correct the file; strings need quotes.") from None
    return convert(path, content, kind, "")


def convert(path: Path, content: Mapping[str, Any], kind: type[Record], prefix: str) -> Record:
    """Convert a table to a `kind`. Inner tables are converted first, each by itself, so that an error names its key."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in content.items():
        if key not in fields:
            raise wrong(path, prefix + key, "unknown key", suggestion(key, fields))
        record = record_in(fields[key])
        if record is None or not isinstance(value, Mapping):
            continue
        tables = (
            {f"{key}.{name}": table for name, table in value.items()} if is_named_table(fields[key]) else {key: value}
        )
        for name, table in tables.items():
            if isinstance(table, Mapping):
                convert(path, table, record, f"{prefix}{name}.")
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        problem, _, location = str(error).partition(" - at `$")
        key = (prefix + location.rstrip("`").lstrip(".")).rstrip(".")
        problem = problem.replace("array", "list").replace(" | null", "")
        raise wrong(path, key or "the file", f"{problem[:1].lower()}{problem[1:]}", "Correct the value.") from None


def record_in(annotation: Any) -> type[msgspec.Struct] | None:
    """The record inside `Record`, `Record | None` or `dict[str, Record]`; None where there is none."""
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


def is_named_table(annotation: Any) -> bool:
    """Whether the keys of this value are names that users chose."""
    return getattr(annotation, "__origin__", None) is dict


def wrong(path: Path, key: str, what: str, guidance: str) -> ConfigurationError:
    """The error for one key of one file."""
    return ConfigurationError(f"{path}: `{key}`: {what}.", guidance)
