"""Adds backlog, review and notes, former attempts, removed roles, and indexes for retention.

Self-contained: it does not import the current tables.
"""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql, sqlite

revision = "0002"
down_revision = "0001"

TEXT: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INTEGER: Final = sa.BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
STRICT: Final[dict[str, Any]] = {"sqlite_strict": True}
STATES: Final = (
    "'backlog', 'queued', 'pending', 'acknowledged', 'in_progress', 'pending_review', 'completed', 'quarantined',"
    " 'closed'"
)


def upgrade() -> None:
    change_tasks()
    create_notes()
    create_attempts()
    create_deletions()
    op.add_column("roles", sa.Column("removed_at", TEXT, nullable=True))
    index_what_is_forgotten()


def change_tasks() -> None:
    # The default is for existing rows only; a new row states the origin of its request.
    op.add_column("tasks", sa.Column("origin", TEXT, nullable=False, server_default="message"))
    op.add_column("tasks", sa.Column("released_at", TEXT, nullable=True))
    op.add_column("tasks", sa.Column("accepted_attempt", INTEGER, nullable=True))
    # A repeated call to complete a task is answered only for the attempt whose result was accepted.
    op.execute("UPDATE tasks SET accepted_attempt = attempt WHERE status = 'completed'")
    with op.batch_alter_table("tasks") as tasks:
        tasks.alter_column("origin", server_default=None)
        tasks.drop_constraint("ck_tasks_status", type_="check")
        tasks.create_check_constraint("ck_tasks_status", f"status IN ({STATES})")
        tasks.create_check_constraint("ck_tasks_origin", "origin IN ('message', 'backlog')")


def create_notes() -> None:
    op.create_table(
        "notes",
        sa.Column("num", INTEGER, nullable=False),
        sa.Column("task", TEXT, nullable=False),
        sa.Column("attempt", INTEGER, nullable=True),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("num", name="pk_notes"),
        **STRICT,
    )
    op.create_index("ix_notes_task", "notes", ["task", "num"])


def create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("task", TEXT, nullable=False),
        sa.Column("attempt", INTEGER, nullable=False),
        sa.Column("connection_id", TEXT, nullable=False),
        sa.Column("ended_at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("task", "attempt", name="pk_attempts"),
        **STRICT,
    )


def create_deletions() -> None:
    op.create_table(
        "deletions",
        sa.Column("stream", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("stream", name="pk_deletions"),
        **STRICT,
    )


def index_what_is_forgotten() -> None:
    op.create_index("ix_facts_at", "facts", ["at"])
    op.create_index("ix_incarnations_at", "incarnations", ["at"])
    op.create_index("ix_sittings_ended", "sittings", ["ended_at", "room", "role", "epoch"])
