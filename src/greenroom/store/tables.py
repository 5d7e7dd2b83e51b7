"""Imports every module that declares a table, so that `metadata` is the complete schema."""

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
