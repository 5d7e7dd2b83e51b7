"""Knows when many silences are one: then it is probably us or the network. Must not know who fell silent."""

FEWEST = 3
"""Fewer parties than this falling silent together is no sign of anything but themselves."""


def is_mass(silent: int, beating: int) -> bool:
    """Tell whether at least half of all who beat for themselves fell silent within one TTL, and at least three."""
    return silent >= FEWEST and silent >= beating


def is_over(still_gone: int, gone: int) -> bool:
    """Tell whether more than half of those who fell silent together are back, or were let go."""
    return 2 * still_gone < gone
