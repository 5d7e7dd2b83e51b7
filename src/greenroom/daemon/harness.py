"""Decides which command an agent spec may run on this machine, in which directory and with which variables.

The server is not trusted here. What it names is checked against the configuration of the machine's owner, and against
the disk, before each run: what was a directory when it was allowed may be a symlink to elsewhere by now.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from greenroom.client.run_spec import default_receiver
from greenroom.domain import ids
from greenroom.domain.errors import ConfigurationError
from greenroom.domain.limits import HARNESSES_MAX
from greenroom.private_files import make_private_folder
from greenroom.process.command import find_program_error
from greenroom.settings.harness import Harness
from greenroom.wire.replies import Assignment

MODEL = "{model}"
MODEL_VARIABLE = "GREENROOM_MODEL"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
"""What a model may be called. The name can be a whole word of the command, so it must not look like an option."""


class RunRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """How this machine runs the agent of one role. `then` is the role, or the user, that gets the command's output.

    `result` is the format in which the command prints its result, if any. A resident agent is not run for each task.
    """

    command: tuple[str, ...]
    workdir: Path
    env: dict[str, str]
    then: str
    timeout_s: float | None
    result: str | None = None
    is_resident: bool = False


class HarnessPolicy:
    """The harnesses and directories that this machine's configuration allows. The server can only choose from them."""

    def __init__(self, harnesses: Mapping[str, Harness], allowed_dirs: tuple[Path, ...], work_area: Path) -> None:
        if len(harnesses) > HARNESSES_MAX:
            raise ConfigurationError(
                f"This machine's configuration defines {len(harnesses)} harnesses; a machine can register "
                f"{HARNESSES_MAX}.",
                "Remove some from [daemon.harnesses]; greenroom agent set can set the model or directory of a role.",
            )
        self._harnesses = dict(harnesses)
        # Resolved once, at the start: changing a symlink later must not allow another directory.
        self._allowed_dirs = tuple(folder.resolve() for folder in allowed_dirs)
        self._work_area = work_area

    @property
    def harness_names(self) -> list[str]:
        return sorted(self._harnesses)

    @property
    def commands(self) -> list[tuple[str, ...]]:
        return [harness.command for harness in self._harnesses.values()]

    def find_missing_programs(self, environ: Mapping[str, str]) -> dict[str, ConfigurationError]:
        """The harnesses that cannot be started now, each with the error that names what is missing."""
        errors = {
            name: find_program_error(harness.command, harness.env, environ) for name, harness in self._harnesses.items()
        }
        return {name: error for name, error in errors.items() if error is not None}

    def names_resident(self, spec: Assignment) -> bool:
        """Whether the agent spec names a resident harness, and so not one run for each task."""
        harness = self._harnesses.get(spec.harness or "")
        return harness is not None and harness.resident

    def resolve_recipe(self, spec: Assignment) -> RunRecipe:
        """Resolve how an agent spec is run. Raises ConfigurationError that names what is not defined or not allowed."""
        harness = self._harnesses.get(spec.harness or "")
        if harness is None:
            choose = f"Choose one of {', '.join(self.harness_names)}, or define" if self.harness_names else "Define"
            raise ConfigurationError(
                f"This machine's configuration defines no harness {spec.harness!r}.",
                f"{choose} it in [daemon.harnesses] and restart the daemon.",
            )
        if not (ids.is_name(spec.room_name) and ids.is_name(spec.role) and spec.role in spec.roles):
            raise ConfigurationError(
                f"The agent spec for {spec.role!r} in {spec.room_name!r} is invalid: its names, or its list of roles.",
                "Check which server this daemon uses: greenroom daemon status.",
            )
        return RunRecipe(
            command=insert_model(harness.command, spec),
            workdir=self._default_workdir(spec) if spec.workdir is None else self._resolve_workdir(spec.workdir),
            env=dict(harness.env) | ({MODEL_VARIABLE: spec.model} if spec.model else {}),
            then=harness.then or default_receiver(spec.roles, spec.role),
            timeout_s=harness.task_timeout_s,
            result=harness.result,
            is_resident=harness.resident,
        )

    def _default_workdir(self, spec: Assignment) -> Path:
        """The role's own directory, for an agent spec that names none."""
        own = self._work_area / spec.room_name / spec.role
        try:
            make_private_folder(own)
        except OSError as error:
            raise workdir_error(str(own), error.strerror or str(error)) from error
        return self._resolve_workdir(str(own))

    def _resolve_workdir(self, path: str) -> Path:
        """Check a directory and resolve all its symlinks, so that the directory that was checked is the one used."""
        workdir = Path(path)
        if not workdir.is_absolute() or ".." in workdir.parts or "\0" in path:
            raise ConfigurationError(
                f"The working directory {path!r} is not an absolute path without `..`.",
                "Set another: greenroom agent set ROOM/ROLE --workdir PATH.",
            )
        try:
            resolved = workdir.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise workdir_error(path, str(error)) from error
        allowed = (*self._allowed_dirs, self._work_area.resolve())
        if not any(resolved.is_relative_to(folder) for folder in allowed):
            raise ConfigurationError(
                f"This machine allows no agent to work in {resolved}.",
                f"It allows {', '.join(map(str, allowed))} and what is below; see allowed_dirs in [daemon].",
            )
        if not resolved.is_dir():
            raise workdir_error(path, "it is not a directory")
        if not os.access(resolved, os.R_OK | os.X_OK):
            raise workdir_error(path, "its permissions forbid it")
        return resolved


def workdir_error(workdir: str, why: str) -> ConfigurationError:
    """The error for a directory in which no agent can work, as the disk is now."""
    return ConfigurationError(
        f"The working directory {workdir} cannot be entered: {why}.",
        "Create it on this machine, or set another: greenroom agent set ROOM/ROLE --workdir PATH.",
    )


def insert_model(command: tuple[str, ...], spec: Assignment) -> tuple[str, ...]:
    """Replace `{model}` in the command by the spec's model. Raises ConfigurationError if that is missing or invalid."""
    if spec.model and not MODEL_NAME.fullmatch(spec.model):
        raise ConfigurationError(
            f"{spec.model!r} is not a valid model name.",
            "Use ASCII letters, digits and . _ : / @ + -; begin with a letter or a digit.",
        )
    if not spec.model and any(MODEL in word for word in command):
        raise ConfigurationError(
            f"The harness {spec.harness!r} needs a model.",
            f"Set one: greenroom agent set {spec.room_name}/{spec.role} --model MODEL.",
        )
    return tuple(word.replace(MODEL, spec.model or "") for word in command)
