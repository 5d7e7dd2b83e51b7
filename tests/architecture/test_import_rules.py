"""The import contracts and the ban on direct use of time and randomness report planted violations."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

BIN = Path(sys.executable).parent

# Id of the contract, the module that violates it, and the violating code.
FORBIDDEN_IMPORTS = (
    ("floors", "store/planted.py", "import greenroom.service"),
    ("floors", "server/planted.py", "def later():\n    import greenroom.daemon"),
    ("floors", "unlisted.py", "UNLISTED = True"),
    ("floors", "cli/planted.py", "import greenroom.testing"),
    ("testing", "__main__.py", "from greenroom.testing import MovedClock"),
    ("nouns", "domain/room.py", "from greenroom.domain import task"),
    ("strangers", "agent/planted.py", "import greenroom.service"),
    ("strangers", "client/planted.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy"),
    ("pure-rules", "domain/planted.py", "import asyncio"),
    ("pure-rules", "domain/planted.py", "from time import monotonic"),
    ("server-front-door", "cli/planted.py", "from greenroom.server import planted"),
    ("daemon-front-door", "cli/planted.py", "from greenroom.daemon import planted"),
)


def lint_imports(package_copy: Path, contract: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache", "--no-logo", "--contract", contract],
        cwd=package_copy,
        env=os.environ | {"PYTHONPATH": str(package_copy / "src")},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    """A copy of the package in which a test may plant violations."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("server", "daemon"):
        (tmp_path / "src/greenroom" / package / "planted.py").touch()
    return tmp_path


@pytest.mark.parametrize(("contract", "module", "violation"), FORBIDDEN_IMPORTS)
def test_forbidden_import_is_reported(package_copy: Path, contract: str, module: str, violation: str) -> None:
    path = package_copy / "src/greenroom" / module
    path.write_text(f"{path.read_text() if path.exists() else ''}\n{violation}\n")

    outcome = lint_imports(package_copy, contract)

    assert 1 == outcome.returncode, outcome.stdout + outcome.stderr
    assert "1 broken" in outcome.stdout


@pytest.mark.parametrize("package", ["server", "daemon"])
def test_cli_may_import_run_modules(package_copy: Path, package: str) -> None:
    (package_copy / f"src/greenroom/{package}/run.py").write_text(f"import greenroom.{package}.planted\n")
    (package_copy / "src/greenroom/cli/planted.py").write_text(f"import greenroom.{package}.run\n")

    outcome = lint_imports(package_copy, f"{package}-front-door")

    assert 0 == outcome.returncode, outcome.stdout + outcome.stderr


BANNED = (
    "import time\n\ntime.sleep(1)\n",
    "from time import monotonic as tick\n\ntick()\n",
    "import datetime as calendar\n\ncalendar.datetime.now(calendar.UTC)\n",
    "from random import random\n\nrandom()\n",
    "import os\n\nos.urandom(16)\n",
    "import asyncio\n\nasyncio.sleep(1)\n",
    "import uuid\n\nuuid.uuid4()\n",
)


def run_ruff(name: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", name, "-"],
        cwd=ROOT,
        input=text,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("text", BANNED)
@pytest.mark.parametrize("name", ["src/greenroom/service/planted.py", "tests/unit/planted.py", "examples/planted.py"])
def test_direct_time_and_randomness_are_banned(name: str, text: str) -> None:
    outcome = run_ruff(name, text)

    assert 1 == outcome.returncode, outcome.stdout + outcome.stderr
    assert "TID251" in outcome.stdout


@pytest.mark.parametrize(
    "name", ["src/greenroom/clock.py", "src/greenroom/entropy.py", "bench/heartbeats.py", "tests/process/test_up.py"]
)
def test_permitted_time_and_randomness(name: str) -> None:
    assert 0 == run_ruff(name, "".join(BANNED)).returncode
