"""Sizes the batches in which old rows are deleted.

Options: `retention_rows_max` is the largest batch.
"""

BATCH_S_MAX = 0.003
"""The seconds that a batch may take: other writes wait for it."""
BATCHES_PER_SWEEP = 20
"""Few enough to take a small part of each second, and enough to keep pace with new rows."""
FIRST_BATCH_ROWS = 50


def next_batch_rows(rows: int, took_s: float, rows_max: int) -> int:
    """Return the size of the next batch, given that one of `rows` took `took_s`: rows differ, and so do disks."""
    return max(1, rows // 2) if took_s > BATCH_S_MAX else min(rows_max, rows * 2)
