"""Adds the kind of an agent's restart hold, the time of its agent spec, a timeout for tasks, and a room's closing time.

Self-contained: it does not import the current tables.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql, sqlite

revision = "0003"
down_revision = "0002"

TEXT: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
REAL: Final[sa.types.TypeEngine[float]] = sa.Double().with_variant(sqlite.REAL(), "sqlite")


def upgrade() -> None:
    op.add_column("rooms", sa.Column("closed_at", TEXT, nullable=True))
    op.execute(
        "UPDATE rooms SET closed_at = (SELECT MAX(at) FROM events"
        " WHERE events.stream = 'room:' || rooms.id AND events.type = 'room.closed') WHERE status = 'closed'"
    )
    with op.batch_alter_table("roles") as roles:
        roles.add_column(sa.Column("task_timeout_s", REAL, nullable=True))
        roles.add_column(sa.Column("wished_at", TEXT, nullable=True))
        roles.add_column(sa.Column("rests_as", TEXT, nullable=True))
        roles.create_check_constraint("ck_roles_rests_as", "rests_as IN ('backing_off', 'parked', 'paused')")
    # Before this revision the only kind of restart hold was backing off.
    op.execute("UPDATE roles SET rests_as = 'backing_off' WHERE rests_until IS NOT NULL")
