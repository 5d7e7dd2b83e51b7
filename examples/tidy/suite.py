"""Finds and runs a repository's own tests, without Greenroom's token in their environment, and reads their output.

The tests are the only code of the repository that is run: no build, no hook, no `make`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from workspace import git, plain_environment

# The name follows after one space; "(failures=1)" is not a name, and captured log lines have more than one space.
BROKEN = re.compile(r"^(?:FAILED|ERROR|FAIL|\*\*\* Error compiling):? (?=[^\s(])(.+?)(?: - .*)?$", re.MULTILINE)
SUMMARY_CHARS_MAX = 300
HAS_PYTEST = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pytest') is None)"
NO_TESTS = 5  # exit code of pytest, and of unittest since Python 3.12, if there were no tests


@dataclass(frozen=True)
class Outcome:
    name: str
    passed: bool
    summary: str
    broken: frozenset[str] = frozenset()
    finished: bool = True


@dataclass(frozen=True)
class Suite:
    """The tests of one repository: the Python to use, the copy to test, the time limit."""

    python: str
    copy: Path
    limit_s: float

    def compile_files(self) -> Outcome:
        """Compile every Python file that git tracks."""
        files = "\n".join(name for name in self._list_files() if name.endswith(".py"))
        code, output, finished = self._run([self.python, "-m", "compileall", "-q", "-i", "-"], files)
        broken = _list_broken(output)
        summary = "every file compiles" if code == 0 else f"files that do not compile: {len(broken)}"
        return Outcome("compileall", code == 0, summary, broken, finished)

    def run_tests(self) -> Outcome | None:
        """Run the tests with pytest, or with unittest if pytest is not installed. None if there are none."""
        if not any(re.fullmatch(r"(test_.*|.*_test|tests?)\.py", Path(name).name) for name in self._list_files()):
            return None
        has_pytest, *_ = self._run([self.python, "-c", HAS_PYTEST])
        if has_pytest == 0:
            name, command = "pytest", ["-m", "pytest", "-q", "--color=no", "--tb=short", "-rfE"]
        else:
            start = "tests" if (self.copy / "tests").is_dir() else "."
            name, command = "unittest", ["-m", "unittest", "discover", "-s", start]
        code, output, finished = self._run([self.python, *command])
        if code == NO_TESTS or (name == "unittest" and "Ran 0 tests" in output):
            return None
        if not finished:
            return Outcome(name, False, f"not finished within {self.limit_s:g} s, so stopped", finished=False)
        return Outcome(name, code == 0, _last_line(output), _list_broken(output))

    def _list_files(self) -> list[str]:
        return git(self.copy, "ls-files", "-z").split("\0")

    def _run(self, command: list[str], stdin_text: str = "") -> tuple[int, str, bool]:
        """Return exit code, output, and whether the command ended in time.

        Output goes to a file, because a grandchild process may keep a pipe open. The tests get no session of their own:
        they stay in the process group that Greenroom started, so that they end with it.
        """
        import_paths = [str(path) for path in (self.copy / "src", self.copy) if path.is_dir()]
        # The copy comes first, because an editable install would make the tests import the user's checkout.
        environment = plain_environment() | {"PYTHONPATH": ":".join(import_paths), "PYTHONDONTWRITEBYTECODE": "1"}
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stdin:
            stdin.write(stdin_text.encode("utf-8", "surrogateescape"))
            stdin.seek(0)
            try:
                code, finished = subprocess.run(
                    command, cwd=self.copy, env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.STDOUT,
                    timeout=self.limit_s, check=False,
                ).returncode, True  # fmt: skip
            except subprocess.TimeoutExpired:
                code, finished = -1, False
            stdout.seek(0)
            return code, stdout.read().decode("utf-8", "replace"), finished


def find_python(repository: Path) -> str:
    """The Python of the repository's virtual environment, which has its tests' dependencies; else this Python."""
    for name in (".venv", "venv"):
        python = repository / name / "bin" / "python"
        if python.is_file() and os.access(python, os.X_OK):
            return str(python)
    return sys.executable


def _last_line(output: str) -> str:
    lines = [line.strip(" =") for line in output.splitlines() if line.strip(" =")]
    ran = [line for line in lines if line.startswith("Ran ")]  # unittest's count is one line above the result
    return ", ".join([*ran[-1:], *lines[-1:]])[:SUMMARY_CHARS_MAX] or "no output"


def _list_broken(output: str) -> frozenset[str]:
    return frozenset(BROKEN.findall(output.rpartition("short test summary info")[2]))
