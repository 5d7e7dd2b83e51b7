"""Defines what to run for a task: the command, its directory and environment, and the folder of its files."""

from pathlib import Path

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run for a task.

    `env` is the whole environment, `then` the receiver of the output, `folder` this run's own. `result` is the format
    in which the command prints its result, if it does. `began_at` is set for a run that an earlier process began: when
    it did, by the wall clock; its command, directory and environment are then not used. A run that `is_mortal` ends
    with this process, however that ends; any other can be continued by the next process.
    """

    command: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    then: str
    folder: Path
    timeout_s: float | None = None
    result: str | None = None
    is_mortal: bool = False
    began_at: float | None = None

    @property
    def stdout(self) -> Path:
        return self.folder / "stdout"

    @property
    def stderr(self) -> Path:
        return self.folder / "stderr"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    @property
    def result_file(self) -> Path:
        return self.folder / "result.json"
