"""An upgraded database has the same tables as a new one: their system catalogues are compared."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from alembic.script import ScriptDirectory

from greenroom.store.migrations import alembic_upgrade
from greenroom.store.migrations.runner import CURRENT_REVISION
from greenroom.store.tables import metadata
from tests.architecture.tree import ROOT
from tests.contract.catalogue import catalogue
from tests.contract.migration_databases import FIRST, MigrationDatabase

FOLDER = Path(alembic_upgrade.__file__).parent

GUIDANCE = f"""
An upgraded store has other tables than a new one. If revision {CURRENT_REVISION} was released, raise SCHEMA_VERSION in
src/greenroom/store/schema.py and draft the next one with `.venv/bin/python -m tools.revision "What changes"`;
else complete src/greenroom/store/migrations/versions/revision_{CURRENT_REVISION}.py by hand.
On both databases it must still add (+) and remove (-):
"""


def test_upgraded_tables_equal_new_tables(create_database: Callable[[str], MigrationDatabase]) -> None:
    new, upgraded = create_database("new"), create_database("upgraded")
    new.create_tables(metadata)
    upgraded.create_first_version()
    upgraded.upgrade()

    with new.begin() as new_connection, upgraded.begin() as upgraded_connection:
        expected, found = catalogue(new_connection), catalogue(upgraded_connection)
    differences = [f"+ {line}" for line in sorted(expected - found)] + [
        f"- {line}" for line in sorted(found - expected)
    ]
    assert differences == [], GUIDANCE + "\n".join(differences)


def test_revisions_are_linear_up_to_schema() -> None:
    scripts = ScriptDirectory.from_config(alembic_upgrade.create_config())
    revision_ids = [script.revision for script in scripts.walk_revisions()][::-1]

    assert revision_ids[0] == FIRST
    assert revision_ids[-1] == CURRENT_REVISION
    assert revision_ids == [f"{number:04}" for number in range(1, len(revision_ids) + 1)]


def test_new_and_upgraded_stamps_are_equal(create_database: Callable[[str], MigrationDatabase]) -> None:
    new, upgraded = create_database("new"), create_database("upgraded")
    new.create_tables(metadata)
    upgraded.create_first_version()
    upgraded.upgrade()

    assert new.stamp() == upgraded.stamp()
    assert new.stamp()[-1] == CURRENT_REVISION


@pytest.mark.process
def test_wheel_contains_all_revisions(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")

    expected = {
        path.relative_to(ROOT / "src").as_posix() for path in FOLDER.rglob("*") if path.suffix in (".py", ".mako")
    }
    assert len(expected) > 5
    assert expected <= set(ZipFile(wheel).namelist())
