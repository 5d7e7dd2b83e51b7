"""The settings of a machine's daemon: its harnesses, allowed directories and labels.

The project's file and the user's file have this part in common.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from greenroom.domain import ids
from greenroom.domain.errors import ConfigurationError, Unusable
from greenroom.domain.limits import LABELS_MAX
from greenroom.settings.paths import expand_home
from greenroom.settings.suggest import suggest_name
from greenroom.settings.toml_file import key_error, replace_in_command, replace_in_env, resolve_path

RESULT_FORMATS: Final = ("claude-code", "opencode")
"""The agent CLIs whose structured output `client.agent_cli_output` can read."""
OWN_LABELS: Final = ("arch", "found", "os", "python")
"""The labels that a machine sets by itself."""
LABEL_LENGTH_MAX: Final = 256

Command = Annotated[tuple[str, ...], Meta(min_length=1)]
Timeout = Annotated[float, Meta(gt=0, le=10**9)]


class Harness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command that a machine may run for a task; `then` is the role that gets its output.

    `{model}` in the command is replaced by the model of the role's agent spec. `result` is the format in which the
    command prints its result. A `resident` harness is not run for each task: it is kept alive, and claims tasks itself.
    `task_timeout_s` is in seconds.
    """

    command: Command
    env: dict[str, str] = {}
    then: str | None = None
    task_timeout_s: Timeout | None = None
    result: str | None = None
    resident: bool = False


class DaemonSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this machine's daemon may run, below which directories, and the labels that users see of the machine."""

    harnesses: dict[str, Harness] = {}
    allowed_dirs: tuple[str, ...] = ()
    labels: dict[str, str] = {}


def check_daemon_settings(path: Path, daemon: DaemonSettings) -> None:
    """Raise ConfigurationError for invalid settings of a daemon."""
    for name, harness in daemon.harnesses.items():
        key = f"daemon.harnesses.{name}"
        check_name(path, key, "harness", name)
        check_command(path, key, harness.command, harness.env)
        if harness.command[0].startswith("~/"):
            check_path(path, f"{key}.command", harness.command[0])
        if harness.result is not None and harness.result not in RESULT_FORMATS:
            raise key_error(
                path, f"{key}.result", f"unknown format `{harness.result}`",
                f"{suggest_name(harness.result, RESULT_FORMATS)} Any other command can write its result to "
                "the file that GREENROOM_RESULT names.",
            )  # fmt: skip
        if harness.resident:
            check_resident_settings(path, key, harness.then, harness.result, harness.task_timeout_s)
    for folder in daemon.allowed_dirs:
        check_path(path, "daemon.allowed_dirs", folder)
    for name, value in daemon.labels.items():
        check_name(path, f"daemon.labels.{name}", "label", name)
        if name in OWN_LABELS:
            raise key_error(
                path, f"daemon.labels.{name}", "the machine sets this label by itself", "Choose another name."
            )
        if len(value) > LABEL_LENGTH_MAX or "\0" in value:
            raise key_error(
                path, f"daemon.labels.{name}", f"a label has at most {LABEL_LENGTH_MAX} characters, and no U+0000",
                "Shorten it, or remove U+0000.",
            )  # fmt: skip
    if len(daemon.labels) > LABELS_MAX - len(OWN_LABELS):
        raise key_error(path, "daemon.labels", f"there are more than {LABELS_MAX - len(OWN_LABELS)}", "Remove some.")


def check_path(path: Path, key: str, text: str) -> None:
    """Raise ConfigurationError for a text that cannot be made an absolute path."""
    try:
        expand_home(text)
    except ConfigurationError as error:
        raise key_error(path, key, error.detail.rstrip("."), error.guidance) from None
    if "\0" in text:
        raise key_error(path, key, "a path cannot contain U+0000", "Remove it.")


def check_command(path: Path, key: str, command: Sequence[str], env: Mapping[str, str]) -> None:
    """Raise ConfigurationError for words or variables with which no program can be started."""
    if any("\0" in word for word in command):
        raise key_error(
            path, f"{key}.command", "a word of it contains U+0000", "Remove it; no argument can contain it."
        )
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise key_error(
                path, f"{key}.env", f"{name!r} cannot be a variable with that value",
                "A name has no `=`, and neither it nor its value contains U+0000.",
            )  # fmt: skip


def check_resident_settings(
    path: Path, key: str, then: str | None, result: str | None, task_timeout_s: float | None
) -> None:
    """Raise ConfigurationError for a resident harness with settings that only a run for one task can follow."""
    task_settings = {"then": then, "result": result, "task_timeout_s": task_timeout_s}
    for name, value in task_settings.items():
        if value is not None:
            raise key_error(
                path, f"{key}.{name}", "a resident harness claims its tasks and hands them off by itself",
                f"Remove `{name}`, or `resident`.",
            )  # fmt: skip


def check_name(path: Path, key: str, what: str, name: str) -> None:
    """Raise ConfigurationError when `name` is not a valid name of a `what`, such as a role."""
    try:
        ids.check_name(what, name)
    except Unusable as error:
        raise key_error(path, key, error.detail.rstrip("."), error.guidance) from None


def resolve_daemon_settings(daemon: DaemonSettings, here: Path, has_agents: bool) -> DaemonSettings:
    """Resolve placeholders and paths by `here`, the file's folder. With `has_agents`, it is allowed by default."""
    default = (str(here),) if has_agents else ()
    return DaemonSettings(
        harnesses={
            name: msgspec.structs.replace(
                harness,
                command=replace_in_command(harness.command, here),
                env=replace_in_env(harness.env, here),
            )
            for name, harness in daemon.harnesses.items()
        },
        allowed_dirs=tuple(resolve_path(folder, here) for folder in daemon.allowed_dirs) or default,
        labels=daemon.labels,
    )
