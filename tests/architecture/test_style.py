"""All sources keep the project's style rules."""

import os
import re
import subprocess

import pytest

from tests.architecture.style import PYTHON_CHECKS, Check, check_local_paths_and_registries
from tests.architecture.tree import ROOT, published_sources, python_sources
from tests.architecture.vocabulary import repeated_class_names


@pytest.mark.parametrize("check", PYTHON_CHECKS, ids=lambda check: check.__name__)
def test_python_style(check: Check) -> None:
    sources = list(python_sources())
    assert len(sources) > 20, "too few sources were found"

    assert [] == [violation for source in sources for violation in check(source)]


def test_class_names_are_unique() -> None:
    sources = (source for source in python_sources() if not source.path.startswith("examples/"))

    assert [] == repeated_class_names(sources)


def test_no_local_paths_or_registries() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the published files are unknown")
    sources = list(published_sources())
    assert "pyproject.toml" in {source.path for source in sources}

    assert [] == [violation for source in sources for violation in check_local_paths_and_registries(source)]
    assert [] == [source.path for source in sources if str(ROOT) in source.text]


def test_lock_pins_hashes_without_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pins = [line for line in lock.splitlines() if "==" in line]

    assert len(pins) > 20
    assert [] == [pin for pin in pins if not pin.endswith("\\")], "a pin without a hash"
    assert "://" not in lock
    assert "index-url" not in lock


def test_requirements_are_capped() -> None:
    """A new major version of a library comes only by a change to pyproject.toml."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    requirements = [line.strip() for line in project.splitlines() if line.startswith('    "') and ">=" in line]

    assert len(requirements) > 10
    assert [] == [requirement for requirement in requirements if ",<" not in requirement]


def test_hooks_run_what_lint_runs() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    listed = subprocess.run(["make", "-n", "lint"], cwd=ROOT, env=environment, check=True, capture_output=True)
    commands = [line for line in listed.stdout.decode().splitlines() if line.startswith(".venv/bin/")]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")

    assert len(commands) >= 4
    assert commands == re.findall(r"^ +entry: (.+)$", hooks, re.MULTILINE)


@pytest.mark.parametrize("name", ["docs/cli.md", "docs/pictures/status.svg", "requirements.lock"])
def test_generated_files_are_marked(name: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "check-attr", "linguist-generated", "--", name]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()

    assert f"{name}: linguist-generated: set\n" == answer
