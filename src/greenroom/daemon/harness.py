"""The owner's say: which command a wish may run on this machine, where and with what. Must not know when it is run."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from greenroom.client.errand import next_in_line
from greenroom.domain.errors import ConfigurationError
from greenroom.settings.project import Harness
from greenroom.wire.replies import Wish

MODEL = "{model}"
MODEL_VARIABLE = "GREENROOM_MODEL"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
"""A name may stand for a word of the command, and must not be able to be an option of it."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How the tasks of one role are done here. `then` is the role that gets what the command prints."""

    command: tuple[str, ...]
    workdir: Path
    env: dict[str, str]
    then: str
    timeout_s: float | None


class House:
    """What this machine's configuration defines and allows. The server chooses among it and can add nothing."""

    def __init__(self, harnesses: Mapping[str, Harness], allowed_dirs: tuple[Path, ...], work_area: Path) -> None:
        self._harnesses = dict(harnesses)
        self._allowed_dirs = allowed_dirs
        self._work_area = work_area

    @property
    def names(self) -> list[str]:
        return sorted(self._harnesses)

    def recipe(self, wish: Wish) -> Recipe:
        """Settle how a wish is carried out. Raises ConfigurationError with what is not defined or not allowed."""
        harness = self._harnesses.get(wish.harness or "")
        if harness is None:
            raise ConfigurationError(
                f"This machine's configuration defines no harness {wish.harness!r}.",
                f"Choose one of {', '.join(self.names) or 'none'}, or define it in [daemon.harnesses] and start anew.",
            )
        return Recipe(
            command=fill_model(harness.command, wish),
            workdir=self._settle_workdir(wish),
            env=dict(harness.env) | ({MODEL_VARIABLE: wish.model} if wish.model else {}),
            then=harness.then or next_in_line(wish.roles, wish.role),
            timeout_s=harness.task_timeout_s,
        )

    def _settle_workdir(self, wish: Wish) -> Path:
        """The directory itself, every symlink followed, so that what was checked is what is used."""
        if wish.workdir is None:
            own = self._work_area / wish.room_name / wish.role
            own.mkdir(parents=True, exist_ok=True)
            return own.resolve()
        wished = Path(wish.workdir)
        if not wished.is_absolute() or ".." in wished.parts:
            raise ConfigurationError(
                f"The working directory {wish.workdir!r} is not spelled out.", "Wish an absolute path without `..`."
            )
        try:
            resolved = wished.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise ConfigurationError(
                f"The working directory {wish.workdir} cannot be entered: {error}.",
                "Make it on this machine, or wish another.",
            ) from error
        allowed = (*self._allowed_dirs, self._work_area)
        if not any(resolved.is_relative_to(folder.resolve()) for folder in allowed):
            raise ConfigurationError(
                f"This machine allows no agent to work in {resolved}.",
                f"Allowed are {', '.join(map(str, allowed))} and below; see allowed_dirs in [daemon].",
            )
        return resolved


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
