"""A program of examples/tidy is killed, repeated, or run twice at the same time, and still does its task."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.tidy_example import (
    PROGRAMS,
    UNTIDY,
    ProgramRunner,
    fingerprint,
    git,
    make_repository,
    read_plan,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.process

IN_THE_MIDDLE = {"surveyor": "checkout", "fixer": "add", "checker": "diff"}
"""The git command that each program runs in the middle of its work."""


@pytest.fixture
def runner(tmp_path: Path) -> ProgramRunner:
    return ProgramRunner(tmp_path / "team")


def make_wide_repository(folder: Path, files: int = 60) -> Path:
    test = "import module_1\n\n\ndef test_it():\n    assert module_1.read_path()\n"
    return make_repository(folder, **{f"module_{number}": UNTIDY * 20 for number in range(files)}, test_it=test)


def test_fixer_killed_before_commit_is_run_again(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_wide_repository(tmp_path / "code", files=400)
    plan = runner.run("surveyor", f"tidy {repository}", task="t1")
    undisturbed = runner.run("fixer", plan, task="t2")
    copy = runner.work / "t1" / "copy"
    git(copy, "checkout", "--quiet", "--detach", str(read_plan(plan)["base"]))

    def has_begun() -> bool:
        return any((copy / f"module_{number}.py").read_text() != UNTIDY * 20 for number in (0, 399))

    process = runner.start_and_hold("fixer", plan, "commit", "t2")
    wait_until(has_begun, "the fixer changes the first files", poll_interval_s=0.001)
    runner.kill(process)
    (copy / ".git" / "index.lock").touch()  # as left by a git that is killed at that moment
    assert git(copy, "rev-parse", "HEAD").strip() == read_plan(plan)["base"], "killed before it could commit"

    again = runner.run("fixer", plan, task="t2", GREENROOM_ATTEMPT="2")
    assert read_plan(again)["left"] == read_plan(undisturbed)["left"]
    changes = ("diff", "--stat", str(read_plan(undisturbed)["fixed"]), str(read_plan(again)["fixed"]))
    assert git(copy, *changes) == "", "both attempts made the same code"
    assert "Recommended" in runner.run("checker", again, task="t3")


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_killed_at_any_moment_is_run_again(runner: ProgramRunner, tmp_path: Path, program: str) -> None:
    repository = make_wide_repository(tmp_path / "code")
    text = f"tidy {repository}"
    for earlier in PROGRAMS[: PROGRAMS.index(program)]:
        text = runner.run(earlier, text)
    saved = tmp_path / "saved"
    shutil.copytree(runner.work, saved) if runner.work.exists() else saved.mkdir()
    began = time.monotonic()
    undisturbed = runner.run(program, text)
    whole_s = time.monotonic() - began

    def strip_commit(answer: str) -> str:
        return answer if program != "fixer" else answer.replace(str(read_plan(answer)["fixed"]), "")

    for part in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        shutil.rmtree(runner.work)
        shutil.copytree(saved, runner.work)
        if part == 0.0:
            process = runner.start_and_hold(program, text, IN_THE_MIDDLE[program])
            wait_until(runner.held_flag.exists, "the program is in the middle of its work")
            runner.kill(process)
        else:
            process = runner.start(program, "t1")
            try:
                process.communicate(text, timeout=whole_s * part)
            except subprocess.TimeoutExpired:  # it may have finished by then, or be at any point
                runner.kill(process)
        again = strip_commit(runner.run(program, text, GREENROOM_ATTEMPT="2"))
        assert again.partition("Checks:")[0] == strip_commit(undisturbed).partition("Checks:")[0]
        assert ("1 passed" in again) == (program == "checker")


def test_checker_repeats_report_without_copy(runner: ProgramRunner, tmp_path: Path) -> None:
    plan = runner.run("surveyor", f"tidy {make_repository(tmp_path / 'code', untidy=UNTIDY)}")
    fixed = runner.run("fixer", plan)
    report = runner.run("checker", fixed)
    assert runner.run("checker", fixed, GREENROOM_ATTEMPT="2") == report
    assert "Send the request again" in runner.run_declining("fixer", plan)


def test_concurrent_tasks_on_one_repository(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_wide_repository(tmp_path / "code")
    before = fingerprint(repository)
    tasks = ("t1", "t2")
    with ThreadPoolExecutor(len(tasks)) as pool:
        reports = list(pool.map(lambda task: runner.run_all(f"tidy {repository}", task), tasks))
    for task, report in zip(tasks, reports, strict=True):
        assert "Recommended" in report
        assert f"/work/{task}/tidy.diff" in report
    assert (runner.work / "t1" / "tidy.diff").read_bytes() == (runner.work / "t2" / "tidy.diff").read_bytes()
    assert fingerprint(repository) == before


def test_second_run_of_task_waits_for_first(runner: ProgramRunner, tmp_path: Path) -> None:
    slow = "import time\n\n\ndef test_slow():\n    time.sleep(2)\n"
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, test_slow=slow)
    fixed = runner.run("fixer", runner.run("surveyor", f"tidy {repository}"))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: runner.run("checker", fixed), range(2))
    assert "1 passed" in first
    assert first == second


def test_old_work_folders_are_removed(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", untidy=UNTIDY)
    for task in ("old", "young"):
        runner.run("surveyor", f"tidy {repository}", task=task)
    eight_days_ago = time.time() - 8 * 24 * 3600
    os.utime(runner.work / "old", (eight_days_ago, eight_days_ago))
    runner.run("surveyor", f"tidy {repository}", task="new")
    assert sorted(path.name for path in runner.work.iterdir()) == ["new", "young"]
