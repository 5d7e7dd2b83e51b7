"""Drafts the next schema revision: the differences between the tables in the code and the newest revision.

    .venv/bin/python -m tools.revision "What changes"

Raise SCHEMA_VERSION first. The draft is generated and incomplete: read it and complete it by hand (it lacks CHECK
constraints and data changes). `tests/contract/test_migrations.py` passes when an upgraded store and a new one have the
same tables.
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from alembic import command

from greenroom.store.migrations import alembic_upgrade
from greenroom.store.migrations.runner import CURRENT_REVISION
from greenroom.store.tables import metadata

VERSIONS = Path(alembic_upgrade.__file__).parent / "versions"


def draft(message: str) -> None:
    """Write a draft of the revision that SCHEMA_VERSION names, by comparing with an empty, fully upgraded database."""
    if (VERSIONS / f"revision_{CURRENT_REVISION}.py").exists():
        sys.exit(
            f"revision {CURRENT_REVISION} exists already: raise SCHEMA_VERSION in src/greenroom/store/schema.py first"
        )
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        engine = alembic_upgrade.create_sqlalchemy_engine(lambda: database, "sqlite", "BEGIN")
        with engine.begin() as connection:
            config = alembic_upgrade.create_config(connection)
            command.upgrade(config, "head")
            config.set_main_option("file_template", "revision_%%(rev)s")
            config.attributes["tables"] = metadata
            command.revision(config, message, autogenerate=True, rev_id=CURRENT_REVISION)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draft(sys.argv[1])
