"""The server's settings of Python's cycle collector."""

import subprocess
import sys

from tests.waiting import PATIENCE_S

SCRIPT = """
import gc
from greenroom.lifecycle import settle_memory

settle_memory()
rounds = [0, 0, 0]
gc.callbacks.append(lambda phase, told: rounds.__setitem__(told["generation"], rounds[told["generation"]] + 1))
standing = [[number] for number in range(500_000)]
print(rounds[2], gc.get_freeze_count() > 1000)
"""


def test_what_stands_at_a_server_is_not_looked_through_again_and_again() -> None:
    """With default settings the collector would scan half a million new objects several times while they are made."""
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert ["0", "True"] == said.stdout.split()
