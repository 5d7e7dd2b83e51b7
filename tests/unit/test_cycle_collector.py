"""The server's settings of Python's cycle collector."""

import subprocess
import sys

from tests.waiting import PATIENCE_S

SCRIPT = """
import gc
from greenroom.loop import freeze_garbage_collector

freeze_garbage_collector()
rounds = [0, 0, 0]
gc.callbacks.append(lambda phase, info: rounds.__setitem__(info["generation"], rounds[info["generation"]] + 1))
objects = [[number] for number in range(500_000)]
print(rounds[2], gc.get_freeze_count() > 1000)
"""


def test_collector_does_not_rescan_objects() -> None:
    """With default settings the collector would scan half a million new objects several times while they are made."""
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert ["0", "True"] == completed.stdout.split()
