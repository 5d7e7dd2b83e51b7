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
PLANTED = (
    ("floors", "store/planted.py", "import greenroom.service"),
    ("floors", "server/planted.py", "def later():\n    import greenroom.daemon"),
    ("floors", "attic.py", "ATTIC = True"),
    ("nouns", "domain/room.py", "from greenroom.domain import task"),
    ("strangers", "agent/planted.py", "import greenroom.service"),
    ("strangers", "client/planted.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sqlalchemy"),
    ("pure-rules", "domain/planted.py", "import asyncio"),
    ("pure-rules", "domain/planted.py", "from time import monotonic"),
    ("server-front-door", "cli/planted.py", "from greenroom.server import planted"),
    ("daemon-front-door", "cli/planted.py", "from greenroom.daemon import planted"),
)


def lint_imports(house: Path, contract: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache", "--no-logo", "--contract", contract],
        cwd=house,
        env=os.environ | {"PYTHONPATH": str(house / "src")},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package in which a test may plant violations."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("server", "daemon"):
        (tmp_path / "src/greenroom" / package / "planted.py").touch()
    return tmp_path


@pytest.mark.parametrize(("contract", "module", "line"), PLANTED)
def test_a_planted_import_breaks_its_contract(house: Path, contract: str, module: str, line: str) -> None:
    path = house / "src/greenroom" / module
    path.write_text(f"{path.read_text() if path.exists() else ''}\n{line}\n")

    outcome = lint_imports(house, contract)

    assert 1 == outcome.returncode, outcome.stdout + outcome.stderr
    assert "1 broken" in outcome.stdout


@pytest.mark.parametrize("front_door", ["server", "daemon"])
def test_the_command_line_may_use_a_front_door(house: Path, front_door: str) -> None:
    (house / f"src/greenroom/{front_door}/run.py").write_text(f"import greenroom.{front_door}.planted\n")
    (house / "src/greenroom/cli/planted.py").write_text(f"import greenroom.{front_door}.run\n")

    outcome = lint_imports(house, f"{front_door}-front-door")

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


def ruff(name: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", name, "-"],
        cwd=ROOT,
        input=text,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("text", BANNED)
@pytest.mark.parametrize("name", ["src/greenroom/service/planted.py", "tests/unit/planted.py", "examples/planted.py"])
def test_time_and_chance_are_banned(name: str, text: str) -> None:
    outcome = ruff(name, text)

    assert 1 == outcome.returncode, outcome.stdout + outcome.stderr
    assert "TID251" in outcome.stdout


@pytest.mark.parametrize(
    "name", ["src/greenroom/clock.py", "src/greenroom/entropy.py", "bench/beats.py", "tests/acceptance/test_up.py"]
)
def test_but_not_where_they_come_in(name: str) -> None:
    assert 0 == ruff(name, "".join(BANNED)).returncode
