"""Formats durations, countdowns and sizes for people."""

from greenroom.clock import seconds_of

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def duration(seconds: float) -> str:
    """Format seconds in at most two adjacent units: `45 s`, `4 min 10 s`, `2 h`, `3 d 4 h`."""
    left = max(0, round(seconds))
    parts: list[str] = []
    for length, unit in UNITS:
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break  # `1 d 5 s` suggests a precision that it does not have
    return " ".join(parts[:2]) or "0 s"


def seconds_to(instant: str, now: float) -> float:
    """Seconds from `now`, a reading of this machine's wall clock, to an instant; negative when it is past."""
    return seconds_of(instant) - now


def size(count: int) -> str:
    """Format bytes in the largest unit that fits: `1023 B`, `1.5 KiB`, `3.0 GiB`."""
    for length, unit in SIZES:
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"
