"""What is run for a task: which command, where, and in which folder its files lie. Must not know how it goes."""

from pathlib import Path

import msgspec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run for a task: `env` is the whole environment, `then` who gets the output, `folder` this run's own.

    `result` is the format in which the command prints how it ended, where it does. `began_at` is when an earlier
    process of ours began the run, by the wall clock; of such a run command, directory and environment do not matter.
    One that `is_mortal` ends with this process, however that ends; any other can be carried on by the next one.
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
