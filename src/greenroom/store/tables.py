"""Every table, gathered: the schema is whole once every noun was imported. Must not know any column."""

from typing import Final

from greenroom.store import answers, attentions, keys, log, machines, messages, rooms, schema, sittings, tasks

NOUNS: Final = (answers, attentions, keys, log, machines, messages, rooms, sittings, tasks)
metadata: Final = schema.metadata
