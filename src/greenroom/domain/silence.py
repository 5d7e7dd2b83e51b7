"""Detects a mass silence: many clients falling silent together. The cause is then probably the server or its network.

Limits: it counts only agents that send their own heartbeats, and machines; a silence of fewer than three is never one.
"""

FEWEST = 3
"""With fewer silent clients than this, the cause is taken to be the clients themselves."""


def is_mass(silent: int, beating: int) -> bool:
    """Return whether at least half of all beating clients fell silent within one TTL, and at least three of them."""
    return silent >= FEWEST and silent >= beating


def is_over(still_gone: int, gone: int) -> bool:
    """Return whether more than half of the clients that fell silent together are back, or are no longer expected."""
    return 2 * still_gone < gone
