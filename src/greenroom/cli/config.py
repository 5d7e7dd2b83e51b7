"""`greenroom config`: prints every setting in force and its origin."""

from argparse import Namespace
from collections.abc import Iterator
from os import environ
from typing import TextIO

import msgspec

from greenroom.cli.output import print_json
from greenroom.cli.table import Table, print_table
from greenroom.domain.reliability import variable_of
from greenroom.settings.database import without_password
from greenroom.settings.resolve import Settings, unknown_variables

HIDDEN = "(set)"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its name, value, origin, and the environment variable that sets it, if there is one."""

    name: str
    value: str | int | float | list[str] | None
    origin: str
    variable: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    values: tuple[Value, ...]
    warnings: tuple[str, ...]


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    warnings = tuple(f"{name} is not a Greenroom variable. {guess}" for name, guess in unknown_variables(environ))
    config = Config(values=tuple(values_of(settings)), warnings=warnings)
    if arguments.json:
        print_json(out, config)
    else:
        rows = [(value.name, spell(value), value.origin, value.variable or "-") for value in config.values]
        print_table(out, Table("", ("SETTING", "VALUE", "ORIGIN", "VARIABLE"), rows))
    for warning in warnings:
        print(f"warning: {warning}", file=err)
    return 0


def values_of(settings: Settings) -> Iterator[Value]:
    """Every setting; the token is hidden, and the database URL has no password."""
    origins = settings.origins
    yield Value(name="url", value=settings.url, origin=origins["url"], variable="GREENROOM_URL")
    yield Value(
        name="token", value=HIDDEN if settings.token else None, origin=origins["token"], variable="GREENROOM_TOKEN"
    )
    yield Value(
        name="data_dir", value=str(settings.data_dir), origin=origins["data_dir"], variable="GREENROOM_DATA_DIR"
    )
    yield Value(
        name="database",
        value=without_password(settings.database) if settings.database else "sqlite",
        origin=origins["database"],
        variable="GREENROOM_DATABASE",
    )
    project = settings.project
    yield Value(name="project", value=str(project.path) if project else None, origin=origins["project"])
    yield Value(name="daemon.harnesses", value=sorted(settings.harnesses()), origin=origins["daemon"])
    folders = [str(folder) for folder in settings.allowed_dirs()]
    yield Value(name="daemon.allowed_dirs", value=folders, origin=origins["daemon"])
    for name in settings.limits.__struct_fields__:
        yield Value(name=name, value=getattr(settings.limits, name), origin=origins[name], variable=variable_of(name))


def spell(value: Value) -> str:
    """Format a value for the table."""
    if isinstance(value.value, float):
        return f"{value.value:g}"
    if isinstance(value.value, list):
        return ", ".join(value.value) or "-"
    return "-" if value.value is None else str(value.value)
