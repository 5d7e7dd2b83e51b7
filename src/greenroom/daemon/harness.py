"""The owner's say: which command a wish may run on this machine, where and with what. Must not know when it is run.

The server is believed nothing here. What it names is compared with what the owner wrote, and with the disk as it is at
that moment: before each run, since what was a directory when it was allowed may be a way out by now.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from greenroom.client.briefing import next_in_line
from greenroom.domain import ids
from greenroom.domain.errors import ConfigurationError
from greenroom.domain.reliability import HARNESSES_MAX
from greenroom.process.program import hindrance
from greenroom.settings.harness import Harness
from greenroom.wire.replies import Wish

MODEL = "{model}"
MODEL_VARIABLE = "GREENROOM_MODEL"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
"""A name may stand for a word of the command, and must not be able to be an option of it."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How the tasks of one role are done here. `then` is the role that gets what the command prints.

    `result` is the format in which it prints how it ended. One that is resident is no run for a task.
    """

    command: tuple[str, ...]
    workdir: Path
    env: dict[str, str]
    then: str
    timeout_s: float | None
    result: str | None = None
    is_resident: bool = False


class House:
    """What this machine's configuration defines and allows. The server chooses among it and can add nothing."""

    def __init__(self, harnesses: Mapping[str, Harness], allowed_dirs: tuple[Path, ...], work_area: Path) -> None:
        if len(harnesses) > HARNESSES_MAX:
            raise ConfigurationError(
                f"This machine's configuration defines {len(harnesses)} harnesses; a machine can tell of "
                f"{HARNESSES_MAX}.",
                "Leave some out of [daemon.harnesses]; a role can also be given a model or a directory by its wish.",
            )
        self._harnesses = dict(harnesses)
        # What their names meant at the start: whoever can move a link later must not allow himself another place.
        self._allowed_dirs = tuple(folder.resolve() for folder in allowed_dirs)
        self._work_area = work_area

    @property
    def names(self) -> list[str]:
        return sorted(self._harnesses)

    @property
    def commands(self) -> list[tuple[str, ...]]:
        return [harness.command for harness in self._harnesses.values()]

    def hindrances(self, environ: Mapping[str, str]) -> dict[str, ConfigurationError]:
        """The harnesses whose program is not there now, each with what is missing."""
        found = {name: hindrance(each.command, each.env, environ) for name, each in self._harnesses.items()}
        return {name: error for name, error in found.items() if error is not None}

    def is_resident(self, wish: Wish) -> bool:
        """Tell whether what is wished is a process that stays, and not one run for each task."""
        harness = self._harnesses.get(wish.harness or "")
        return harness is not None and harness.resident

    def recipe(self, wish: Wish) -> Recipe:
        """Settle how a wish is carried out. Raises ConfigurationError with what is not defined or not allowed."""
        harness = self._harnesses.get(wish.harness or "")
        if harness is None:
            choose = f"Choose one of {', '.join(self.names)}, or define" if self.names else "Define"
            raise ConfigurationError(
                f"This machine's configuration defines no harness {wish.harness!r}.",
                f"{choose} it in [daemon.harnesses] and start anew.",
            )
        if not (ids.is_name(wish.room_name) and ids.is_name(wish.role) and wish.role in wish.roles):
            raise ConfigurationError(
                f"The wish for {wish.role!r} in {wish.room_name!r} makes no sense: these are no names, or not its own.",
                "Look at what this server is: greenroom daemon status.",
            )
        return Recipe(
            command=fill_model(harness.command, wish),
            workdir=self._own_workdir(wish) if wish.workdir is None else self._settle_workdir(wish.workdir),
            env=dict(harness.env) | ({MODEL_VARIABLE: wish.model} if wish.model else {}),
            then=harness.then or next_in_line(wish.roles, wish.role),
            timeout_s=harness.task_timeout_s,
            result=harness.result,
            is_resident=harness.resident,
        )

    def _own_workdir(self, wish: Wish) -> Path:
        """The directory that a role has to itself where nobody wished another."""
        own = self._work_area / wish.room_name / wish.role
        try:
            own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_enter(str(own), error.strerror or str(error)) from error
        return self._settle_workdir(str(own))

    def _settle_workdir(self, told: str) -> Path:
        """The directory itself, every symlink followed, so that what was checked is what is used."""
        wished = Path(told)
        if not wished.is_absolute() or ".." in wished.parts or "\0" in told:
            raise ConfigurationError(
                f"The working directory {told!r} is not spelled out.", "Wish an absolute path without `..`."
            )
        try:
            resolved = wished.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise cannot_enter(told, str(error)) from error
        allowed = (*self._allowed_dirs, self._work_area.resolve())
        if not any(resolved.is_relative_to(folder) for folder in allowed):
            raise ConfigurationError(
                f"This machine allows no agent to work in {resolved}.",
                f"Allowed are {', '.join(map(str, allowed))} and below; see allowed_dirs in [daemon].",
            )
        if not resolved.is_dir():
            raise cannot_enter(told, "it is no directory")
        if not os.access(resolved, os.R_OK | os.X_OK):
            raise cannot_enter(told, "its permissions forbid it")
        return resolved


def cannot_enter(workdir: str, why: str) -> ConfigurationError:
    """The error for a directory that no agent can work in as the disk is now."""
    return ConfigurationError(
        f"The working directory {workdir} cannot be entered: {why}.", "Make it on this machine, or wish another."
    )


def fill_model(command: tuple[str, ...], wish: Wish) -> tuple[str, ...]:
    """The command for the wished model: `{model}` in it is the model's name. Raises ConfigurationError without one."""
    if wish.model and not MODEL_NAME.fullmatch(wish.model):
        raise ConfigurationError(
            f"{wish.model!r} cannot be the name of a model.",
            "Use ASCII letters, digits and . _ : / @ + -, beginning with a letter or a digit.",
        )
    if not wish.model and any(MODEL in word for word in command):
        raise ConfigurationError(
            f"The harness {wish.harness!r} needs to be told a model.",
            f"Wish one: greenroom agent set {wish.room_name}/{wish.role} --model MODEL.",
        )
    return tuple(word.replace(MODEL, wish.model or "") for word in command)
