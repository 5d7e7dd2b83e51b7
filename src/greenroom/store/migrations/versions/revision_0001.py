"""The schema of the first version, which created its tables without Alembic.

A store of that version is stamped with this revision; only tests run it. Self-contained: it does not import the current
tables.
"""

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql, sqlite

revision = "0001"
down_revision = None

TEXT: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INTEGER: Final = sa.BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
STRICT: Final[dict[str, Any]] = {"sqlite_strict": True}


def upgrade() -> None:
    create_answers()
    create_log()
    create_machines()
    create_rooms()
    create_sittings()
    create_tasks()
    create_messages()


def texts(*names: str, nullable: bool = False) -> Iterator[sa.Column[str]]:
    return (sa.Column(name, TEXT, nullable=nullable) for name in names)


def integers(*names: str) -> Iterator[sa.Column[int]]:
    return (sa.Column(name, INTEGER, nullable=False) for name in names)


def create_answers() -> None:
    op.create_table(
        "answers",
        *texts("subject", "route", "key", "digest"),
        *integers("status"),
        *texts("body", "at"),
        sa.PrimaryKeyConstraint("subject", "route", "key", name="pk_answers"),
        **STRICT,
    )
    op.create_index("ix_answers_at", "answers", ["at"])
    op.create_table(
        "attentions",
        *texts("key"),
        *texts("room", nullable=True),
        *texts("text", "subjects", "raised_at"),
        sa.PrimaryKeyConstraint("key", name="pk_attentions"),
        **STRICT,
    )
    op.create_table("keys", *texts("name", "value"), sa.PrimaryKeyConstraint("name", name="pk_keys"), **STRICT)


def create_log() -> None:
    op.create_table(
        "streams",
        *texts("stream"),
        *integers("last_seq"),
        sa.PrimaryKeyConstraint("stream", name="pk_streams"),
        **STRICT,
    )
    op.create_table(
        "counters",
        *texts("name"),
        *integers("value"),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
        **STRICT,
    )
    op.create_table(
        "events",
        sa.Column("pos", INTEGER, autoincrement=False, nullable=False),
        *texts("stream"),
        *integers("seq"),
        *texts("type", "at", "cause", "data"),
        sa.PrimaryKeyConstraint("pos", name="pk_events"),
        sa.UniqueConstraint("stream", "seq", name="uq_events_stream_seq"),
        **STRICT,
    )


def create_machines() -> None:
    op.create_table(
        "machines",
        *integers("num"),
        *texts("id", "name"),
        *integers("daemon_connected"),
        *texts("harnesses", "labels"),
        *integers("wishes_version"),
        *texts("incarnation", nullable=True),
        *integers("incarnation_epoch"),
        *texts("last_seen_at", nullable=True),
        *texts("created_at"),
        sa.PrimaryKeyConstraint("num", name="pk_machines"),
        sa.UniqueConstraint("id", name="uq_machines_id"),
        **STRICT,
    )
    op.create_table(
        "incarnations",
        *texts("machine", "incarnation"),
        *integers("epoch"),
        *texts("at"),
        sa.PrimaryKeyConstraint("machine", "incarnation", name="pk_incarnations"),
        **STRICT,
    )
    op.create_table(
        "facts", *texts("machine", "id", "at"), sa.PrimaryKeyConstraint("machine", "id", name="pk_facts"), **STRICT
    )


def create_rooms() -> None:
    op.create_table(
        "rooms",
        *integers("num"),
        *texts("id", "name", "status", "entry_role"),
        *integers("max_requests"),
        *texts("roles", "created_at"),
        sa.PrimaryKeyConstraint("num", name="pk_rooms"),
        sa.CheckConstraint("status IN ('open', 'closed')", name="ck_rooms_status"),
        sa.UniqueConstraint("id", name="uq_rooms_id"),
        sa.UniqueConstraint("name", name="uq_rooms_name"),
        **STRICT,
    )
    op.create_table(
        "roles",
        *texts("room", "name"),
        *integers("position"),
        *texts("kind"),
        *texts("machine", "harness", "model", "workdir", nullable=True),
        *texts("desired"),
        *texts("desired_by", "desired_reason", nullable=True),
        *integers("generation", "epoch"),
        *texts("last_seen_at", "rests_until", "last_exit", nullable=True),
        sa.PrimaryKeyConstraint("room", "name", name="pk_roles"),
        sa.CheckConstraint("kind IN ('remote', 'custom')", name="ck_roles_kind"),
        sa.CheckConstraint("desired IN ('running', 'stopped')", name="ck_roles_desired"),
        **STRICT,
    )
    op.create_index("ix_roles_machine", "roles", ["machine"])


def create_sittings() -> None:
    op.create_table(
        "sittings",
        *texts("room", "role", "connection_id"),
        *integers("epoch"),
        *texts("status", "lease"),
        *texts("machine", nullable=True),
        *texts("joined_at"),
        *texts("ended_at", "end_cause", nullable=True),
        sa.PrimaryKeyConstraint("room", "role", "connection_id", name="pk_sittings"),
        sa.CheckConstraint("status IN ('present', 'absent', 'closed')", name="ck_sittings_status"),
        sa.CheckConstraint("lease IN ('beat', 'handed', 'work')", name="ck_sittings_lease"),
        **STRICT,
    )
    present = sa.text("status = 'present'")
    op.create_index("ix_sittings_epoch", "sittings", ["room", "role", "epoch"], unique=True)
    op.create_index(
        "ix_sittings_present", "sittings", ["room", "role"], unique=True, sqlite_where=present, postgresql_where=present
    )
    op.create_index("ix_sittings_machine", "sittings", ["machine", "status"])


def create_tasks() -> None:
    op.create_table(
        "tasks",
        *integers("num"),
        *texts("id", "room", "request", "target_role", "status"),
        *integers("attempt"),
        *texts("claimed_by", nullable=True),
        *integers("deaths"),
        *texts("text", "created_at"),
        *texts("acknowledged_at", "started_at", "completed_at", "released_cause", "result", nullable=True),
        *integers("handoffs"),
        *texts("last_holder", "reason", "handed_to", "next_task", "promoted", nullable=True),
        sa.PrimaryKeyConstraint("num", name="pk_tasks"),
        sa.CheckConstraint(
            "status IN ('queued', 'pending', 'acknowledged', 'in_progress', 'completed', 'quarantined', 'closed')",
            name="ck_tasks_status",
        ),
        sa.CheckConstraint(
            "status NOT IN ('acknowledged', 'in_progress') OR claimed_by IS NOT NULL", name="ck_tasks_held"
        ),
        sa.UniqueConstraint("id", name="uq_tasks_id"),
        **STRICT,
    )
    op.create_index("ix_tasks_status", "tasks", ["status", "room", "num"])
    op.create_index("ix_tasks_room", "tasks", ["room", "num"])
    op.create_table(
        "late_results",
        *integers("num"),
        *texts("task"),
        *integers("attempt"),
        *texts("connection_id", "to", "text", "at"),
        sa.PrimaryKeyConstraint("num", name="pk_late_results"),
        **STRICT,
    )
    op.create_index("ix_late_results_task", "late_results", ["task", "num"])


def create_messages() -> None:
    op.create_table(
        "messages",
        *integers("num"),
        *texts("id", "room", "sender", "to", "text"),
        *texts("task", nullable=True),
        *texts("at"),
        sa.PrimaryKeyConstraint("num", name="pk_messages"),
        sa.UniqueConstraint("id", name="uq_messages_id"),
        **STRICT,
    )
    op.create_index("ix_messages_room", "messages", ["room", "num"])
