"""An upgraded database has the same tables as a new one: their system catalogues are compared."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from alembic.script import ScriptDirectory

from greenroom.store.migrating import REVISION
from greenroom.store.migrations import upgrading
from greenroom.store.tables import metadata
from tests.architecture.tree import ROOT
from tests.contract.aged import FIRST, Place
from tests.contract.catalogue import catalogue

FOLDER = Path(upgrading.__file__).parent

WHAT_TO_DO = f"""
An upgraded store has other tables than a new one. If revision {REVISION} was released, raise SCHEMA_VERSION in
src/greenroom/store/schema.py and draft the next one with `.venv/bin/python -m tools.revision "What changes"`;
else complete src/greenroom/store/migrations/versions/revision_{REVISION}.py by hand.
On both databases it must still add (+) and remove (-):
"""


def test_an_upgraded_database_is_as_a_new_one(empty: Callable[[str], Place]) -> None:
    new, upgraded = empty("new"), empty("upgraded")
    new.make(metadata)
    upgraded.make_first()
    upgraded.upgrade()

    with new.begin() as one, upgraded.begin() as other:
        wanted, found = catalogue(one), catalogue(other)
    told = [f"+ {fact}" for fact in sorted(wanted - found)] + [f"- {fact}" for fact in sorted(found - wanted)]
    assert told == [], WHAT_TO_DO + "\n".join(told)


def test_revisions_are_one_line_that_ends_with_the_schema() -> None:
    scripts = ScriptDirectory.from_config(upgrading.configured())
    line = [script.revision for script in scripts.walk_revisions()][::-1]

    assert line[0] == FIRST
    assert line[-1] == REVISION
    assert line == [f"{number:04}" for number in range(1, len(line) + 1)]


def test_a_new_database_is_stamped_as_an_upgraded_one(empty: Callable[[str], Place]) -> None:
    new, upgraded = empty("new"), empty("upgraded")
    new.make(metadata)
    upgraded.make_first()
    upgraded.upgrade()

    assert new.stamp() == upgraded.stamp()
    assert new.stamp()[-1] == REVISION


@pytest.mark.process
def test_the_wheel_brings_every_revision(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")

    wanted = {
        path.relative_to(ROOT / "src").as_posix() for path in FOLDER.rglob("*") if path.suffix in (".py", ".mako")
    }
    assert len(wanted) > 5
    assert wanted <= set(ZipFile(wheel).namelist())
