"""The three programs of examples/tidy, run as a daemon runs them, on real git repositories, without a server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.process.tidy_example import (
    GOOD_TEST,
    PROGRAMS,
    TIDY,
    UNTIDY,
    ProgramRunner,
    commit_file,
    fingerprint,
    git,
    make_repository,
    read_plan,
)

pytestmark = pytest.mark.process


@pytest.fixture
def runner(tmp_path: Path) -> ProgramRunner:
    return ProgramRunner(tmp_path / "team")


# ---------------------------------------------------------------- results


def test_diff_of_fixes_applies(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "my own code", untidy=UNTIDY, test_untidy=GOOD_TEST)
    before = fingerprint(repository)

    report = runner.run_all(f"tidy {repository}")

    assert "2 of 2 findings fixed. Changed files: 1." in report
    assert "Recommended: the tests pass" in report
    assert "pytest: 1 passed" in report
    assert "\n-import os\n" in report
    assert fingerprint(repository) == before, "the checkout and its .git stay as they were, byte for byte"
    assert sorted(path.name for path in (runner.work / "t1").iterdir()) == [
        "lock",
        "report.md",
        "ruff.toml",
        "tidy.diff",
    ]
    git(repository, "apply", str(runner.work / "t1" / "tidy.diff"))
    assert (repository / "untidy.py").read_text() == UNTIDY.replace("import os\n", "").replace("path \n", "path\n")
    assert any(line.startswith("report-progress ") for line in runner.calls.read_text().splitlines())


def test_nothing_to_fix(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", tidy="import sys\n\nprint(sys.path)\n")
    report = runner.run_all(f"tidy {repository}")
    assert "Nothing to fix" in report
    assert "it is tidy" in report
    assert "```" not in report


def test_unfixable_findings_are_listed(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", wrong="def read():\n    return missing\n", broken="def (:\n")
    report = runner.run_all(f"tidy {repository}")
    assert "Nothing to fix" in report
    assert "undefined-name (fix by hand)" in report
    assert "invalid-syntax" in report
    assert "files that do not compile: 1" in report


def test_tests_that_failed_before_are_no_regression(runner: ProgramRunner, tmp_path: Path) -> None:
    failing = "def test_never():\n    assert False\n"
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, test_never=failing)
    report = runner.run_all(f"tidy {repository}")
    assert "Unproven" in report
    assert "before the fixes: 1 failed" in report
    assert "newly broken" not in report


@pytest.mark.parametrize("also_failing", ["", "\n\ndef test_never():\n    assert False\n"])
def test_fixes_that_break_a_test_are_not_recommended(runner: ProgramRunner, tmp_path: Path, also_failing: str) -> None:
    needs_import = f"import untidy\n\n\ndef test_os():\n    assert untidy.os.sep\n{also_failing}"
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, test_os=needs_import)
    report = runner.run_all(f"tidy {repository}")
    assert "NOT RECOMMENDED: pytest" in report
    assert "newly broken: test_os.py::test_os" in report
    assert "newly broken: test_os.py::test_never" not in report
    assert "\n-import os\n" in report, "the diff is included nevertheless"


def test_diff_without_tests_is_unproven(runner: ProgramRunner, tmp_path: Path) -> None:
    report = runner.run_all(f"tidy {make_repository(tmp_path / 'code', untidy=UNTIDY)}")
    assert "Unproven: no tests were found" in report


def test_endless_tests_are_stopped(runner: ProgramRunner, tmp_path: Path) -> None:
    endless = "import time\n\n\ndef test_endless():\n    time.sleep(1000)\n"
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, test_endless=endless)
    report = runner.run_all(f"tidy {repository}", TIDY_TEST_LIMIT_S="2")
    assert "not finished within 2 s" in report
    assert "Unproven" in report


def test_large_diff_is_truncated_in_report_only(runner: ProgramRunner, tmp_path: Path) -> None:
    long = "import os\n" + "".join(f"value_{number} = {number} \n" for number in range(20_000))
    repository = make_repository(tmp_path / "code", long=long)
    report = runner.run_all(f"tidy {repository}")
    assert len(report.encode()) < 600_000
    assert "The rest is in the file" in report
    git(repository, "apply", "--check", str(runner.work / "t1" / "tidy.diff"))


# ---------------------------------------------------------------- finding the repository


@pytest.mark.parametrize(
    "message", ["tidy {}", "{}", "please tidy {} today", 'tidy "{}".', "Hello.\n\ntidy {}, please"]
)
def test_path_with_spaces_in_message(runner: ProgramRunner, tmp_path: Path, message: str) -> None:
    repository = make_repository(tmp_path / "my own code", untidy=UNTIDY)
    plan = read_plan(runner.run("surveyor", message.format(repository)))
    assert plan["repository"] == str(repository)


def test_default_repository_is_own_checkout(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "checkout", untidy=UNTIDY)
    shutil.copytree(TIDY, repository / "examples" / "tidy", ignore=shutil.ignore_patterns("__pycache__"))
    program = repository / "examples" / "tidy" / "surveyor.py"
    command = [sys.executable, "-B", str(program)]
    answer = subprocess.run(command, input="tidy up", env=runner.environment("t1"), capture_output=True, text=True)
    assert read_plan(answer.stdout)["repository"] == str(repository)


def test_bare_shallow_and_linked_repositories(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", untidy=UNTIDY)
    commit_file(repository, "later.py", "import os\n")
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare.git")
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "shallow")
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"), "HEAD~1")
    found = {"bare.git": "3 of 3", "shallow": "3 of 3", "linked": "2 of 2"}
    for name, fixed in found.items():
        before = fingerprint(repository) | fingerprint(tmp_path / name)
        assert f"{fixed} findings fixed" in runner.run_all(f"tidy {tmp_path / name}", task=name)
        assert fingerprint(repository) | fingerprint(tmp_path / name) == before


def test_uncommitted_changes_are_ignored_and_kept(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, other="print(1)\n")
    (repository / "other.py").write_text("import json\n")
    (repository / "untracked.py").write_text("import json\n")
    (repository / "staged.py").write_text("import json\n")
    git(repository, "add", "staged.py")
    before = fingerprint(repository)
    report = runner.run_all(f"tidy {repository}")
    assert "2 of 2 findings fixed" in report
    assert "json" not in report
    assert fingerprint(repository) == before


# ---------------------------------------------------------------- declined requests


def test_invalid_requests_are_declined_with_reason(runner: ProgramRunner, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    git(tmp_path, "init", "--quiet", "empty")
    repository = make_repository(tmp_path / "code", inner__untidy=UNTIDY)
    reasons = {
        f"tidy {tmp_path / 'plain'}": "is not a readable git repository",
        f"tidy {tmp_path / 'empty'}": "has no commits yet",
        f"tidy {tmp_path / 'missing'}": "There is no readable folder",
        f"tidy {repository / 'inner' / 'untidy.py'}": "There is no readable folder",
        f"tidy {repository / 'inner'}": f"send: tidy {repository}",
        "tidy ./code": "is not an absolute path",
        "tidy https://example.invalid/code.git": "is not an absolute path",
        f"tidy /{'long' * 50_000}": "There is no readable folder",
        "tidy /nul\0byte": "There is no readable folder",
        f"tidy /{'many arguments ' * 50_000}": "There is no readable folder",
    }
    for message, reason in reasons.items():
        assert reason in runner.run_declining("surveyor", message)
    assert not runner.work.exists()


def test_work_folder_inside_checkout_is_declined(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code")
    runner.work = repository / "work"
    assert "Set GREENROOM_WORK_DIR" in runner.run_declining("surveyor", f"tidy {repository}")


def test_invalid_ruff_configuration_is_declined(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", untidy=UNTIDY)
    commit_file(repository, "ruff.toml", 'required-version = "==0.0.1"\n')
    assert "fix it" in runner.run_declining("surveyor", f"tidy {repository}")


@pytest.mark.parametrize("program", ["fixer", "checker"])
def test_invalid_plan_is_declined(runner: ProgramRunner, tmp_path: Path, program: str) -> None:
    plan = runner.run("surveyor", f"tidy {make_repository(tmp_path / 'code', untidy=UNTIDY)}")
    outside = plan.replace('"job": "t1"', '"job": "../../elsewhere"')
    option = plan.replace('"base": "', '"base": "--output=')
    for text in ("hello", "```json\n[]\n```", "```json\n{}\n```", plan[: len(plan) // 2], outside, option):
        assert "surveyor" in runner.run_declining(program, text)


def test_decline_without_task_fails_with_reason(runner: ProgramRunner) -> None:
    environment = runner.environment("t1")
    del environment["GREENROOM_TASK"]
    command = [sys.executable, str(TIDY / "surveyor.py")]
    process = subprocess.run(command, input="tidy ./it", env=environment, capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (1, "")
    assert "is not an absolute path" in process.stderr


# ---------------------------------------------------------------- settings of the repository


def test_repository_configures_rules_and_format(runner: ProgramRunner, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "code", untidy=UNTIDY + "print( 'x' )\n")
    commit_file(repository, "pyproject.toml", '[tool.ruff.lint]\nselect = ["W"]\n')
    report = runner.run_all(f"tidy {repository}", task="chosen")
    assert "1 of 1 findings fixed" in report
    assert "\n+print" not in report, "no format is configured"
    assert "-import os" not in report

    commit_file(
        repository, "pyproject.toml", '[tool.ruff.lint]\nselect = ["W"]\n[tool.ruff.format]\nquote-style="single"\n'
    )
    report = runner.run_all(f"tidy {repository}", task="formatted")
    assert "formatted with ruff as the repository configures" in report
    assert "\n+print('x')\n" in report


def test_unsafe_fix_settings_are_ignored(runner: ProgramRunner, tmp_path: Path) -> None:
    unsafe = "def read():\n    value = 1\n    return 2\n"
    repository = make_repository(tmp_path / "code", unsafe=unsafe)
    commit_file(repository, "ruff.toml", "fix = true\nfix-only = true\nunsafe-fixes = true\n")
    report = runner.run_all(f"tidy {repository}")
    assert "Nothing to fix" in report
    assert "unused-variable (fix by hand)" in report


def test_no_git_hook_runs_and_tests_get_no_token(runner: ProgramRunner, tmp_path: Path) -> None:
    spy = "import os\n\n\ndef test_spy():\n    assert not [name for name in os.environ if 'GREENROOM' in name]\n"
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, test_spy=spy)
    trace = tmp_path / "hook-ran"
    for name in ("post-checkout", "pre-commit", "commit-msg", "post-commit"):
        hook = repository / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch '{trace}'\n")
        hook.chmod(0o755)
    (runner.folder / "home" / ".gitconfig").write_text(f"[core]\nhooksPath = {repository / '.git' / 'hooks'}\n")
    assert "pytest: 1 passed" in runner.run_all(f"tidy {repository}")
    assert not trace.exists()


def test_copy_is_tested_instead_of_installed_package(runner: ProgramRunner, tmp_path: Path) -> None:
    place_test = "import untidy\n\n\ndef test_place():\n    assert '/copy/src/' in untidy.__file__\n"
    repository = make_repository(tmp_path / "code", src__untidy=UNTIDY, tests__test_place=place_test)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(repository / ".venv")], check=True)
    (site_packages,) = (repository / ".venv" / "lib").glob("*/site-packages")
    (site_packages / "editable.pth").write_text(f"{repository / 'src'}\n")
    (site_packages / "pytest.pth").write_text("".join(f"{path}\n" for path in sys.path if "site-packages" in path))
    assert "pytest: 1 passed" in runner.run_all(f"tidy {repository}")


def test_unittest_without_pytest(runner: ProgramRunner, tmp_path: Path) -> None:
    cases = (
        "import json\nimport unittest\n\nimport untidy\n\n\nclass Cases(unittest.TestCase):\n"
        "    def test_path(self):\n        self.assertTrue(untidy.read_path())\n\n"
        "    def test_os(self):\n        self.assertTrue(untidy.os.sep)\n"
    )
    repository = make_repository(tmp_path / "code", untidy=UNTIDY, tests__test_untidy=cases)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(repository / ".venv")], check=True)
    report = runner.run_all(f"tidy {repository}")
    assert "unittest: Ran 2 tests" in report
    assert "NOT RECOMMENDED: unittest" in report
    assert "newly broken: test_os (test_untidy.Cases.test_os)" in report


# ---------------------------------------------------------------- the team file


def test_team_file_names_the_programs() -> None:
    team_file = tomllib.loads((TIDY / "greenroom.toml").read_text())
    assert team_file["room"]["roles"] == list(PROGRAMS)
    assert team_file["room"]["entry_role"] == "surveyor"
    for role in PROGRAMS:
        assert team_file["agents"][role]["command"] == ["{python}", f"{{here}}/{role}.py"]
        assert (TIDY / f"{role}.py").is_file()
