"""The logs of runs are kept up to their limits, and runs that have ended are not measured again for each new run."""

import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from greenroom.daemon.shelf import LogShelf
from greenroom.process.group import Group
from greenroom.process.identity import Identity
from greenroom.settings.private_file import write_record
from greenroom.settings.volume import size_of
from tests.waiting import PATIENCE_S

ENDED = Identity(os.getpid(), "an earlier start")


def lay_out(shelf: LogShelf, *sizes: int) -> None:
    """Start runs one after the other, each of which writes that many bytes."""
    for attempt, size in enumerate(sizes, 1):
        folder = shelf.place("r", "builder", "task_1", attempt)
        folder.mkdir()
        (folder / "stdout").write_bytes(bytes(size))
        os.utime(folder, (attempt, attempt))


def kept(tmp_path: Path, role: str = "builder") -> list[str]:
    return sorted(path.name for path in (tmp_path / "r" / role).iterdir())


def test_only_the_newest_logs_of_a_role_are_kept(tmp_path: Path) -> None:
    lay_out(LogShelf(tmp_path, 3, 1000), *[1] * 6)
    assert kept(tmp_path) == ["task_1.4", "task_1.5", "task_1.6"]


def test_the_oldest_logs_of_all_make_room_for_new_ones(tmp_path: Path) -> None:
    shelf = LogShelf(tmp_path, 50, 1000)
    lay_out(shelf, 400, 400, 400)
    assert shelf.place("r", "reviewer", "task_2", 1).name == "task_2.1"
    assert kept(tmp_path) == ["task_1.2", "task_1.3"]


def test_what_is_not_handed_in_or_still_written_to_stays(tmp_path: Path) -> None:
    in_use = [tmp_path / "r" / "builder" / "task_1.1"]
    shelf = LogShelf(tmp_path, 1, 10, lambda: in_use)
    lay_out(shelf, 400)
    folder = shelf.place("r", "builder", "task_1", 2)
    group = Group.spawn(["sleep", "1000"], tmp_path, {"PATH": os.environ["PATH"]}, bytes(100), folder)
    shelf.place("r", "builder", "task_1", 3)
    assert kept(tmp_path) == ["task_1.1", "task_1.2"]
    group.stop(PATIENCE_S)
    in_use.clear()
    shelf.place("r", "builder", "task_1", 3)
    assert kept(tmp_path) == []


def leave(folder: Path, size: int, at: float, process: Identity | None = ENDED) -> Path:
    """Write the files that a run leaves behind; without a process they are those of a run that never started."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stdout").write_bytes(bytes(size))
    if process is not None:
        write_record(folder / "wrapper.json", process)
    os.utime(folder, (at, at))
    return folder


def touched(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[Path]:
    """The paths with which the file system is called during `act`."""
    seen: list[Path] = []

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(path: Any = ".", *more: Any, **named: Any) -> Any:
            if not isinstance(path, int):
                seen.append(Path(os.fspath(path)))
            return call(path, *more, **named)

        return noted

    with monkeypatch.context() as patch:
        for module, name in ((os, "stat"), (os, "lstat"), (os, "scandir"), (os, "listdir"), (io, "open")):
            patch.setattr(module, name, noting(getattr(module, name)))
        act()
    return seen


def test_a_run_that_is_known_to_have_ended_is_not_looked_into_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        leave(tmp_path / "r" / role / f"task_{number}.1", 10, number)
        for role in ("builder", "reviewer", "writer")
        for number in range(10)
    ]
    shelf = LogShelf(tmp_path, 50, 10**6)

    def looked_into() -> set[Path]:
        seen = touched(monkeypatch, lambda: shelf.place("r", "builder", "task_new", 1))
        return {run for run in runs for path in seen if path.is_relative_to(run)}

    assert looked_into() == set(runs)
    assert looked_into() == set()
    shutil.rmtree(runs[0])
    late = leave(tmp_path / "r" / "builder" / "task_late.1", 10, 99)
    runs.append(late)
    assert looked_into() == {late}
    assert looked_into() == set()


def test_what_was_taken_away_makes_room_and_what_came_takes_it(tmp_path: Path) -> None:
    shelf = LogShelf(tmp_path, 50, 2500)
    older, newer = (leave(tmp_path / "r" / "builder" / f"task_{at}.1", 1000, at) for at in (1, 2))
    shelf.place("r", "builder", "task_3", 1)
    shutil.rmtree(newer)
    leave(tmp_path / "r" / "reviewer" / "task_3.1", 1000, 3)
    shelf.place("r", "builder", "task_4", 1)
    assert older.exists(), "a removed folder takes no space"
    leave(tmp_path / "r" / "reviewer" / "task_4.1", 1000, 4)
    shelf.place("r", "builder", "task_5", 1)
    assert (kept(tmp_path), kept(tmp_path, "reviewer")) == ([], ["task_3.1", "task_4.1"])


def test_a_run_counts_with_all_that_it_wrote_until_its_end(tmp_path: Path) -> None:
    """A size that is measured before the run's end would be too small for as long as the folder exists."""
    in_use: list[Path] = []
    shelf = LogShelf(tmp_path, 50, 1000, lambda: in_use)
    again = leave(tmp_path / "r" / "builder" / "task_1.1", 10, 1)
    unstarted = leave(tmp_path / "r" / "writer" / "task_2.1", 10, 2, process=None)
    shelf.place("r", "reviewer", "task_3", 1)

    leave(unstarted, 900, 2)
    in_use.append(shelf.place("r", "builder", "task_1", 1))
    leave(again, 900, 3)
    shelf.place("r", "reviewer", "task_3", 1)
    assert again.exists()
    assert unstarted.exists()

    in_use.clear()
    shelf.place("r", "reviewer", "task_3", 1)
    assert (again.exists(), unstarted.exists()) == (True, False)


def test_seats_that_begin_at_the_same_moment_keep_to_the_limits_together(tmp_path: Path) -> None:
    roles = [f"role{number}" for number in range(4)]
    for role in roles:
        for number in range(20):
            leave(tmp_path / "r" / role / f"task_{number}.1", 10, number)
    shelf = LogShelf(tmp_path, 10, 25 * size_of(tmp_path / "r" / "role0" / "task_0.1"))
    with ThreadPoolExecutor(8) as pool:
        places = [pool.submit(shelf.place, "r", role, f"task_new{seat}", 1) for seat in range(5) for role in roles]
        assert len({place.result() for place in places}) == 20
    left = [name for role in roles for name in kept(tmp_path, role)]
    assert len(left) == 25
    assert min(int(name.removeprefix("task_").removesuffix(".1")) for name in left) == 13
