"""Every table, gathered: the schema is whole once every noun was imported. Must not know any column."""

from typing import Final

from greenroom.store import (
    answers,
    attempts,
    attentions,
    keys,
    log,
    machines,
    messages,
    notes,
    retention,
    rooms,
    schema,
    sittings,
    tasks,
)

NOUNS: Final = (answers, attempts, attentions, keys, log, machines, messages, notes, retention, rooms, sittings, tasks)
metadata: Final = schema.metadata
