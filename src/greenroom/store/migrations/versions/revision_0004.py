"""Gives tables, columns, stored values, events and kept answers the names of the glossary.

Self-contained: it does not import the current tables.
"""

import json
import struct
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import blake2s
from typing import Any, Final
from zlib import crc32

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql, sqlite

revision = "0004"
down_revision = "0003"

TEXT: Final = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
INTEGER: Final = sa.BigInteger().with_variant(sqlite.INTEGER(), "sqlite")
STRICT: Final[dict[str, Any]] = {"sqlite_strict": True}

EVENTS_READ: Final = 5000
"""At most so many events are held in memory at once."""

EVENT_TYPES: Final = {
    "agent.parked": "agent.crash_looping",
    "agent.unparked": "agent.recovered",
    "attention.raised": "alert.raised",
    "attention.resolved": "alert.resolved",
    "role.wished": "agent.configured",
}
FIELDS: Final = {
    "crowded": "spread_retries",
    "deaths": "failures",
    "trial": "probe",
    "wished_at": "configured_at",
    "wishes_version": "assignments_version",
}
STATUSES: Final = {"parked": "crash_looping", "unparked": "recovered"}
"""Values of the fields `status` and `kind`."""

ALERT_KEYS: Final = {"parked": "crash_looping", "cloned": "machine_cloned"}
"""What stands before the colon of an alert's key."""
ROLE_ALERTS: Final = ("crash_looping", "paused", "unattended")
TASK_ALERTS: Final = ("quarantined", "review")


def upgrade() -> None:
    rename_columns()
    add_role_columns()
    rename_tables()
    create_token_serials()
    convert_alerts()
    convert_events()
    convert_answers()


def rename_columns() -> None:
    op.execute("ALTER TABLE tasks RENAME COLUMN deaths TO failures")
    op.execute("ALTER TABLE machines RENAME COLUMN wishes_version TO assignments_version")
    rename_not_null_constraints()
    op.execute("ALTER TABLE roles RENAME COLUMN wished_at TO configured_at")
    op.execute("ALTER TABLE roles RENAME COLUMN rests_until TO hold_until")
    op.execute("ALTER TABLE roles RENAME COLUMN rests_as TO hold")
    with op.batch_alter_table("roles") as roles:
        roles.drop_constraint("ck_roles_rests_as", type_="check")
    op.execute("UPDATE roles SET hold = 'crash_looping' WHERE hold = 'parked'")
    with op.batch_alter_table("roles") as roles:
        roles.create_check_constraint("ck_roles_hold", "hold IN ('backing_off', 'crash_looping', 'paused')")


def add_role_columns() -> None:
    with op.batch_alter_table("roles") as roles:
        roles.add_column(sa.Column("run_generation", INTEGER, nullable=True))
        roles.add_column(sa.Column("empty", TEXT, nullable=True))
    op.execute("UPDATE roles SET run_generation = generation, empty = 'ok'")
    with op.batch_alter_table("roles") as roles:
        roles.alter_column("run_generation", existing_type=INTEGER, nullable=False)
        roles.alter_column("empty", existing_type=TEXT, nullable=False)
        roles.create_check_constraint("ck_roles_empty", "empty IN ('ok', 'failure')")


def rename_not_null_constraints() -> None:
    """PostgreSQL 18 names these constraints after the column of the time when the table was created."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, old, new in (
        ("machines", "wishes_version", "assignments_version"),
        ("tasks", "deaths", "failures"),
    ):
        former, present = f"{table}_{old}_not_null", f"{table}_{new}_not_null"
        found = sa.text(
            "SELECT 1 FROM pg_catalog.pg_constraint WHERE conname = :name AND conrelid = to_regclass(:table)"
        )
        if op.get_bind().execute(found, {"name": former, "table": table}).first():
            op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {former} TO {present}")


def texts(*names: str, nullable: bool = False) -> Iterator[sa.Column[str]]:
    return (sa.Column(name, TEXT, nullable=nullable) for name in names)


def integers(*names: str) -> Iterator[sa.Column[int]]:
    return (sa.Column(name, INTEGER, nullable=False) for name in names)


def rename_tables() -> None:
    """Copy each table into one of the new name: its constraints are named after it."""
    move(
        "answers",
        "idempotency_keys",
        *texts("subject", "route", "key", "digest"),
        *integers("status"),
        *texts("body", "at"),
        sa.PrimaryKeyConstraint("subject", "route", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_at", "idempotency_keys", ["at"])
    move(
        "attentions",
        "alerts",
        *texts("key"),
        *texts("room", nullable=True),
        *texts("text", "subjects", "raised_at"),
        sa.PrimaryKeyConstraint("key", name="pk_alerts"),
    )
    move("keys", "secrets", *texts("name", "value"), sa.PrimaryKeyConstraint("name", name="pk_secrets"))
    move("facts", "reports", *texts("machine", "id", "at"), sa.PrimaryKeyConstraint("machine", "id", name="pk_reports"))
    op.create_index("ix_reports_at", "reports", ["at"])
    # The value has to be allowed before the rows are copied.
    with op.batch_alter_table("sittings") as sittings:
        sittings.drop_constraint("ck_sittings_lease", type_="check")
    op.execute("UPDATE sittings SET lease = 'detached' WHERE lease = 'handed'")
    for index in ("epoch", "present", "machine", "ended"):
        op.drop_index(f"ix_sittings_{index}", "sittings")
    move(
        "sittings",
        "participants",
        *texts("room", "role", "connection_id"),
        *integers("epoch"),
        *texts("status", "lease"),
        *texts("machine", nullable=True),
        *texts("joined_at"),
        *texts("ended_at", "end_cause", nullable=True),
        sa.PrimaryKeyConstraint("room", "role", "connection_id", name="pk_participants"),
        sa.CheckConstraint("status IN ('present', 'absent', 'closed')", name="ck_participants_status"),
        sa.CheckConstraint("lease IN ('beat', 'detached', 'work')", name="ck_participants_lease"),
    )
    present = sa.text("status = 'present'")
    op.create_index("ix_participants_epoch", "participants", ["room", "role", "epoch"], unique=True)
    op.create_index(
        "ix_participants_present",
        "participants",
        ["room", "role"],
        unique=True,
        sqlite_where=present,
        postgresql_where=present,
    )
    op.create_index("ix_participants_machine", "participants", ["machine", "status"])
    op.create_index("ix_participants_ended", "participants", ["ended_at", "room", "role", "epoch"])


def move(old: str, new: str, *parts: Any) -> None:
    """Create the table `new` of these columns and constraints, copy all rows of `old` and drop that."""
    op.create_table(new, *parts, **STRICT)
    names = ", ".join(f'"{part.name}"' for part in parts if isinstance(part, sa.Column))
    op.execute(f"INSERT INTO {new} ({names}) SELECT {names} FROM {old}")
    op.drop_table(old)


def create_token_serials() -> None:
    op.create_table(
        "token_serials",
        *texts("subject"),
        *integers("serial"),
        sa.PrimaryKeyConstraint("subject", name="pk_token_serials"),
        **STRICT,
    )


def convert_alerts() -> None:
    """Give all keys the form KIND:SUBJECT, and raise an alert for each open task with late results, as from now on."""
    op.execute("UPDATE alerts SET key = 'mass_silence:server' WHERE key = 'mass_silence'")
    for old, new in ALERT_KEYS.items():
        # `substr` counts from 1; the colon stays.
        op.execute(f"UPDATE alerts SET key = '{new}' || substr(key, {len(old) + 1}) WHERE key LIKE '{old}:%'")
    op.execute(
        "INSERT INTO alerts (key, room, text, subjects, raised_at)"
        " SELECT 'late_result:' || tasks.id, tasks.room,"
        " 'Task ' || tasks.id || ' for ' || tasks.target_role || ' has late results', '[]', max(late_results.at)"
        " FROM tasks JOIN late_results ON late_results.task = tasks.id"
        " WHERE tasks.status NOT IN ('completed', 'closed')"
        " GROUP BY tasks.id, tasks.room, tasks.target_role"
    )


def convert_events() -> None:
    connection = op.get_bind()
    fields = " OR ".join(f"data LIKE '%\"{name}\"%'" for name in FIELDS)
    types = ", ".join(f"'{name}'" for name in EVENT_TYPES)
    select = sa.text(
        f"SELECT pos, type, cause, data FROM events WHERE pos > :after AND (type IN ({types}) OR {fields})"
        f" ORDER BY pos LIMIT {EVENTS_READ}"
    )
    update = sa.text("UPDATE events SET type = :type, cause = :cause, data = :data WHERE pos = :pos")
    after = 0
    while rows := connection.execute(select, {"after": after}).all():
        connection.execute(
            update,
            [
                {
                    "pos": pos,
                    "type": EVENT_TYPES.get(type_, type_),
                    "cause": converted_key(STATUSES.get(cause, cause)),
                    "data": converted_alert(data) if type_.startswith("attention.") else converted_text(data),
                }
                for pos, type_, cause, data in rows
            ],
        )
        after = rows[-1][0]


def convert_answers() -> None:
    """A request that is repeated gets the answer of the first one, with the names and the cursor of today.

    A route was kept as `HttpMethod.POST /api/v1/...`, and is `POST /api/v1/...` since.
    """
    connection = op.get_bind()
    rows = connection.execute(sa.text('SELECT subject, route, "key", body FROM idempotency_keys')).all()
    update = sa.text(
        "UPDATE idempotency_keys SET route = :new_route, body = :new_body"
        ' WHERE subject = :subject AND route = :route AND "key" = :key'
    )
    for subject, route, key, body in rows:
        new = {"new_route": route.removeprefix("HttpMethod."), "new_body": converted_cursor(converted_text(body))}
        if (route, body) != tuple(new.values()):
            connection.execute(update, {"subject": subject, "route": route, "key": key, **new})


def converted_text(text: str) -> str:
    """A JSON document with the names of today; any other text as it is."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    new = converted(document)
    return text if new == document else json.dumps(new, ensure_ascii=False, separators=(",", ":"))


def converted_cursor(text: str) -> str:
    """The answer with an opaque cursor, if it shows a room: its cursor was the number of the room's last event."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    if not isinstance(document, dict) or not isinstance(document.get("cursor"), int):
        return text
    name_hash = blake2s(f"room:{document['id']}".encode(), digest_size=4).digest()
    content = struct.pack(">BB4sQ", 1, 1, name_hash, document["cursor"])
    cursor = urlsafe_b64encode(content + struct.pack(">I", crc32(content))).decode()
    return json.dumps({**document, "cursor": cursor}, ensure_ascii=False, separators=(",", ":"))


def converted(value: Any) -> Any:
    if isinstance(value, list):
        return [converted(item) for item in value]
    if not isinstance(value, dict):
        return value
    new = {FIELDS.get(name, name): converted(item) for name, item in value.items()}
    for name in ("status", "kind"):
        if isinstance(new.get(name), str):
            new[name] = STATUSES.get(new[name], new[name])
    return new


def converted_alert(text: str) -> str:
    """The data of an event about an alert: its id and kind, and the role or the task that it is about."""
    data = converted(json.loads(text))
    id_ = converted_key(data.pop("key"))
    kind, _, subject = id_.partition(":")
    named = {"role": subject.partition("/")[2]} if kind in ROLE_ALERTS else {}
    named |= {"task": subject} if kind in TASK_ALERTS else {}
    return json.dumps({"id": id_, "kind": kind} | named | data, ensure_ascii=False, separators=(",", ":"))


def converted_key(key: str) -> str:
    """The key of an alert with the kind of today."""
    if key == "mass_silence":
        return "mass_silence:server"
    kind, colon, subject = key.partition(":")
    return f"{ALERT_KEYS.get(kind, kind)}{colon}{subject}" if colon else key
