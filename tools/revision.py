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

from greenroom.store.migrating import REVISION
from greenroom.store.migrations import upgrading
from greenroom.store.tables import metadata

VERSIONS = Path(upgrading.__file__).parent / "versions"


def draft(message: str) -> None:
    """Write a draft of the revision that SCHEMA_VERSION names, by comparing with an empty, fully upgraded database."""
    if (VERSIONS / f"revision_{REVISION}.py").exists():
        sys.exit(f"revision {REVISION} exists already: raise SCHEMA_VERSION in src/greenroom/store/schema.py first")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        engine = upgrading.engine_of(lambda: database, "sqlite", "BEGIN")
        with engine.begin() as connection:
            config = upgrading.configured(connection)
            command.upgrade(config, "head")
            config.set_main_option("file_template", "revision_%%(rev)s")
            config.attributes["tables"] = metadata
            command.revision(config, message, autogenerate=True, rev_id=REVISION)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draft(sys.argv[1])
