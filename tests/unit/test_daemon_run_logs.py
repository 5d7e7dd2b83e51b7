"""The logs of runs are kept up to their limits, and runs that have ended are not measured again for each new run."""

import io
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from greenroom.daemon.run_logs import RunLogs
from greenroom.process.identity import ProcessIdentity
from greenroom.process.process_group import ProcessGroup
from greenroom.settings.files import disk_usage, write_record
from tests.waiting import PATIENCE_S

ENDED = ProcessIdentity(os.getpid(), "an earlier start")


def write_runs(logs: RunLogs, *sizes: int) -> None:
    """Start runs one after the other, each of which writes that many bytes."""
    for attempt, size in enumerate(sizes, 1):
        folder = logs.prepare_folder("r", "builder", "task_1", attempt)
        folder.mkdir()
        (folder / "stdout").write_bytes(bytes(size))
        os.utime(folder, (attempt, attempt))


def list_runs(tmp_path: Path, role: str = "builder") -> list[str]:
    return sorted(path.name for path in (tmp_path / "r" / role).iterdir())


def test_newest_logs_of_role_are_kept(tmp_path: Path) -> None:
    write_runs(RunLogs(tmp_path, 3, 1000), *[1] * 6)
    assert list_runs(tmp_path) == ["task_1.4", "task_1.5", "task_1.6"]


def test_oldest_logs_are_removed_for_space(tmp_path: Path) -> None:
    logs = RunLogs(tmp_path, 50, 1000)
    write_runs(logs, 400, 400, 400)
    assert logs.prepare_folder("r", "reviewer", "task_2", 1).name == "task_2.1"
    assert list_runs(tmp_path) == ["task_1.2", "task_1.3"]


def test_logs_in_use_are_kept(tmp_path: Path) -> None:
    in_use = [tmp_path / "r" / "builder" / "task_1.1"]
    logs = RunLogs(tmp_path, 1, 10, lambda: in_use)
    write_runs(logs, 400)
    folder = logs.prepare_folder("r", "builder", "task_1", 2)
    group = ProcessGroup.spawn(["sleep", "1000"], tmp_path, {"PATH": os.environ["PATH"]}, bytes(100), folder)
    logs.prepare_folder("r", "builder", "task_1", 3)
    assert list_runs(tmp_path) == ["task_1.1", "task_1.2"]
    group.stop(PATIENCE_S)
    in_use.clear()
    logs.prepare_folder("r", "builder", "task_1", 3)
    assert list_runs(tmp_path) == []


def leave_run(folder: Path, size: int, at: float, process: ProcessIdentity | None = ENDED) -> Path:
    """Write the files that a run leaves behind; without a process they are those of a run that never started."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stdout").write_bytes(bytes(size))
    if process is not None:
        write_record(folder / "shim.json", process)
    os.utime(folder, (at, at))
    return folder


def record_paths(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> list[Path]:
    """The paths with which the file system is called during `act`."""
    paths: list[Path] = []

    def recording(call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(path: Any = ".", *more: Any, **named: Any) -> Any:
            if not isinstance(path, int):
                paths.append(Path(os.fspath(path)))
            return call(path, *more, **named)

        return recorded

    with monkeypatch.context() as patch:
        for module, name in ((os, "stat"), (os, "lstat"), (os, "scandir"), (os, "listdir"), (io, "open")):
            patch.setattr(module, name, recording(getattr(module, name)))
        act()
    return paths


def test_ended_run_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        leave_run(tmp_path / "r" / role / f"task_{number}.1", 10, number)
        for role in ("builder", "reviewer", "writer")
        for number in range(10)
    ]
    logs = RunLogs(tmp_path, 50, 10**6)

    def runs_read() -> set[Path]:
        paths = record_paths(monkeypatch, lambda: logs.prepare_folder("r", "builder", "task_new", 1))
        return {run for run in runs for path in paths if path.is_relative_to(run)}

    assert runs_read() == set(runs)
    assert runs_read() == set()
    shutil.rmtree(runs[0])
    late = leave_run(tmp_path / "r" / "builder" / "task_late.1", 10, 99)
    runs.append(late)
    assert runs_read() == {late}
    assert runs_read() == set()


def test_removed_and_new_logs_change_total(tmp_path: Path) -> None:
    logs = RunLogs(tmp_path, 50, 2500)
    older, newer = (leave_run(tmp_path / "r" / "builder" / f"task_{at}.1", 1000, at) for at in (1, 2))
    logs.prepare_folder("r", "builder", "task_3", 1)
    shutil.rmtree(newer)
    leave_run(tmp_path / "r" / "reviewer" / "task_3.1", 1000, 3)
    logs.prepare_folder("r", "builder", "task_4", 1)
    assert older.exists(), "a removed folder takes no space"
    leave_run(tmp_path / "r" / "reviewer" / "task_4.1", 1000, 4)
    logs.prepare_folder("r", "builder", "task_5", 1)
    assert (list_runs(tmp_path), list_runs(tmp_path, "reviewer")) == ([], ["task_3.1", "task_4.1"])


def test_log_size_is_measured_after_end(tmp_path: Path) -> None:
    """A size that is measured before the run's end would be too small for as long as the folder exists."""
    in_use: list[Path] = []
    logs = RunLogs(tmp_path, 50, 1000, lambda: in_use)
    again = leave_run(tmp_path / "r" / "builder" / "task_1.1", 10, 1)
    unstarted = leave_run(tmp_path / "r" / "writer" / "task_2.1", 10, 2, process=None)
    logs.prepare_folder("r", "reviewer", "task_3", 1)

    leave_run(unstarted, 900, 2)
    in_use.append(logs.prepare_folder("r", "builder", "task_1", 1))
    leave_run(again, 900, 3)
    logs.prepare_folder("r", "reviewer", "task_3", 1)
    assert again.exists()
    assert unstarted.exists()

    in_use.clear()
    logs.prepare_folder("r", "reviewer", "task_3", 1)
    assert (again.exists(), unstarted.exists()) == (True, False)


def test_concurrent_starts_keep_limits(tmp_path: Path) -> None:
    roles = [f"role{number}" for number in range(4)]
    for role in roles:
        for number in range(20):
            leave_run(tmp_path / "r" / role / f"task_{number}.1", 10, number)
    logs = RunLogs(tmp_path, 10, 25 * disk_usage(tmp_path / "r" / "role0" / "task_0.1"))
    with ThreadPoolExecutor(8) as pool:
        places = [
            pool.submit(logs.prepare_folder, "r", role, f"task_new{slot}", 1) for slot in range(5) for role in roles
        ]
        assert len({place.result() for place in places}) == 20
    remaining = [name for role in roles for name in list_runs(tmp_path, role)]
    assert len(remaining) == 25
    assert min(int(name.removeprefix("task_").removesuffix(".1")) for name in remaining) == 13
