"""A program of examples/tidy is killed, repeated, or run twice at the same time, and still does its task."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.tidy import (
    PROGRAMS,
    UNTIDY,
    Team,
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
def team(tmp_path: Path) -> Team:
    return Team(tmp_path / "team")


def make_wide_repository(folder: Path, files: int = 60) -> Path:
    test = "import module_1\n\n\ndef test_it():\n    assert module_1.read_path()\n"
    return make_repository(folder, **{f"module_{number}": UNTIDY * 20 for number in range(files)}, test_it=test)


def test_a_fixer_killed_in_the_middle_is_run_again(team: Team, tmp_path: Path) -> None:
    repository = make_wide_repository(tmp_path / "code", files=400)
    plan = team.ask("surveyor", f"tidy {repository}", task="t1")
    undisturbed = team.ask("fixer", plan, task="t2")
    copy = team.work / "t1" / "copy"
    git(copy, "checkout", "--quiet", "--detach", str(read_plan(plan)["base"]))

    def has_begun() -> bool:
        return any((copy / f"module_{number}.py").read_text() != UNTIDY * 20 for number in (0, 399))

    process = team.start_and_hold("fixer", plan, "commit", "t2")
    wait_until(has_begun, "the fixer changes the first files", look_every_s=0.001)
    team.kill(process)
    (copy / ".git" / "index.lock").touch()  # as left by a git that is killed at that moment
    assert git(copy, "rev-parse", "HEAD").strip() == read_plan(plan)["base"], "killed before it could commit"

    again = team.ask("fixer", plan, task="t2", GREENROOM_ATTEMPT="2")
    assert read_plan(again)["left"] == read_plan(undisturbed)["left"]
    changes = ("diff", "--stat", str(read_plan(undisturbed)["fixed"]), str(read_plan(again)["fixed"]))
    assert git(copy, *changes) == "", "both attempts made the same code"
    assert "Recommended" in team.ask("checker", again, task="t3")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_killed_at_any_moment_is_run_again(team: Team, tmp_path: Path, program: str) -> None:
    repository = make_wide_repository(tmp_path / "code")
    text = f"tidy {repository}"
    for earlier in PROGRAMS[: PROGRAMS.index(program)]:
        text = team.ask(earlier, text)
    saved = tmp_path / "saved"
    shutil.copytree(team.work, saved) if team.work.exists() else saved.mkdir()
    began = time.monotonic()
    undisturbed = team.ask(program, text)
    whole_s = time.monotonic() - began

    def strip_commit(answer: str) -> str:
        return answer if program != "fixer" else answer.replace(str(read_plan(answer)["fixed"]), "")

    for part in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        shutil.rmtree(team.work)
        shutil.copytree(saved, team.work)
        if part == 0.0:
            process = team.start_and_hold(program, text, IN_THE_MIDDLE[program])
            wait_until(team.is_held.exists, "the program is in the middle of its work")
            team.kill(process)
        else:
            process = team.start(program, "t1")
            try:
                process.communicate(text, timeout=whole_s * part)
            except subprocess.TimeoutExpired:  # it may have finished by then, or be at any point
                team.kill(process)
        again = strip_commit(team.ask(program, text, GREENROOM_ATTEMPT="2"))
        assert again.partition("Checks:")[0] == strip_commit(undisturbed).partition("Checks:")[0]
        assert ("1 passed" in again) == (program == "checker")


def test_a_checker_repeats_its_report_when_the_copy_is_gone(team: Team, tmp_path: Path) -> None:
    plan = team.ask("surveyor", f"tidy {make_repository(tmp_path / 'code', untidy=UNTIDY)}")
    fixed = team.ask("fixer", plan)
    report = team.ask("checker", fixed)
    assert team.ask("checker", fixed, GREENROOM_ATTEMPT="2") == report
    assert "Send the request again" in team.decline("fixer", plan)


def test_two_tasks_on_one_repository_at_the_same_time(team: Team, tmp_path: Path) -> None:
    repository = make_wide_repository(tmp_path / "code")
    before = fingerprint(repository)
    tasks = ("t1", "t2")
    with ThreadPoolExecutor(len(tasks)) as pool:
        reports = list(pool.map(lambda task: team.tidy(f"tidy {repository}", task), tasks))
    for task, report in zip(tasks, reports, strict=True):
        assert "Recommended" in report
        assert f"/work/{task}/tidy.diff" in report
    assert (team.work / "t1" / "tidy.diff").read_bytes() == (team.work / "t2" / "tidy.diff").read_bytes()
    assert fingerprint(repository) == before


def test_a_second_run_of_a_task_waits_for_the_first(team: Team, tmp_path: Path) -> None:
    slow = "import time\n\n\ndef test_slow():\n    time.sleep(2)\n"
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, test_slow=slow)
    fixed = team.ask("fixer", team.ask("surveyor", f"tidy {repository}"))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: team.ask("checker", fixed), range(2))
    assert "1 passed" in first
    assert first == second


def test_what_nobody_touched_for_a_week_is_removed(team: Team, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", untidy=UNTIDY)
    for task in ("old", "young"):
        team.ask("surveyor", f"tidy {repository}", task=task)
    eight_days_ago = time.time() - 8 * 24 * 3600
    os.utime(team.work / "old", (eight_days_ago, eight_days_ago))
    team.ask("surveyor", f"tidy {repository}", task="new")
    assert sorted(path.name for path in team.work.iterdir()) == ["new", "young"]
