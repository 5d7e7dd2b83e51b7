"""Imports every module that declares a table, so that `metadata` is the complete schema."""

from typing import Final

from greenroom.store import (
    alerts,
    event_log,
    idempotency_keys,
    machines,
    messages,
    participants,
    retention,
    rooms,
    schema,
    secrets,
    task_attempts,
    tasks,
    token_serials,
)

TABLE_MODULES: Final = (
    idempotency_keys,
    task_attempts,
    alerts,
    secrets,
    event_log,
    machines,
    messages,
    task_attempts,
    retention,
    rooms,
    participants,
    tasks,
    token_serials,
)
metadata: Final = schema.metadata
