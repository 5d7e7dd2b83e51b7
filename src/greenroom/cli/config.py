"""`greenroom config`: prints every setting in force and its origin."""

from argparse import Namespace
from collections.abc import Iterator
from os import environ
from typing import TextIO

import msgspec

from greenroom.cli.table import Table, print_table
from greenroom.cli.terminal import print_json
from greenroom.domain.limits import variable_name
from greenroom.exit_codes import ExitCode
from greenroom.settings.database import hide_password
from greenroom.settings.resolve import Settings, unknown_variables

HIDDEN = "(set)"


class SettingValue(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its name, value, origin, and the environment variable that sets it, if there is one."""

    name: str
    value: str | int | float | list[str] | None
    origin: str
    variable: str | None = None


class ConfigView(msgspec.Struct, frozen=True, kw_only=True):
    values: tuple[SettingValue, ...]
    warnings: tuple[str, ...]


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    warnings = tuple(f"{name} is not a Greenroom variable. {guess}" for name, guess in unknown_variables(environ))
    config = ConfigView(values=tuple(list_values(settings)), warnings=warnings)
    if arguments.json:
        print_json(out, config)
    else:
        rows = [(value.name, format_value(value), value.origin, value.variable or "-") for value in config.values]
        print_table(out, Table("", ("SETTING", "VALUE", "ORIGIN", "VARIABLE"), rows, optional_columns=("VARIABLE",)))
    for warning in warnings:
        print(f"warning: {warning}", file=err)
    return ExitCode.DONE


def list_values(settings: Settings) -> Iterator[SettingValue]:
    """Every setting; the token is hidden, and the database URL has no password."""
    origins = settings.origins
    yield SettingValue(name="url", value=settings.url, origin=origins["url"], variable="GREENROOM_URL")
    yield SettingValue(
        name="token", value=HIDDEN if settings.token else None, origin=origins["token"], variable="GREENROOM_TOKEN"
    )
    yield SettingValue(
        name="data_dir", value=str(settings.data_dir), origin=origins["data_dir"], variable="GREENROOM_DATA_DIR"
    )
    yield SettingValue(
        name="database",
        value=hide_password(settings.database) if settings.database else "sqlite",
        origin=origins["database"],
        variable="GREENROOM_DATABASE",
    )
    project = settings.project
    yield SettingValue(name="project", value=str(project.path) if project else None, origin=origins["project"])
    yield SettingValue(name="daemon.harnesses", value=sorted(settings.harnesses()), origin=origins["daemon"])
    folders = [str(folder) for folder in settings.allowed_dirs()]
    yield SettingValue(name="daemon.allowed_dirs", value=folders, origin=origins["daemon"])
    for name in settings.limits.__struct_fields__:
        yield SettingValue(
            name=name, value=getattr(settings.limits, name), origin=origins[name], variable=variable_name(name)
        )


def format_value(value: SettingValue) -> str:
    """Format a value for the table."""
    if isinstance(value.value, float):
        return f"{value.value:g}"
    if isinstance(value.value, list):
        return ", ".join(value.value) or "-"
    return "-" if value.value is None else str(value.value)
