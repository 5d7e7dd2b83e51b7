"""Knows how much may be forgotten at a time. Must not know what is forgotten."""

BATCH_S = 0.003
"""How long a batch may take, because whoever else has something to write waits for it."""
BATCHES_PER_SWEEP = 20
"""So that it takes no more than a small part of each second, and yet keeps pace with what comes."""
ROWS_AT_FIRST = 50


def next_rows(rows: int, took_s: float, rows_max: int) -> int:
    """How many rows the next batch may have, when one of `rows` took so long: rows differ, and so do disks."""
    return max(1, rows // 2) if took_s > BATCH_S else min(rows_max, rows * 2)
