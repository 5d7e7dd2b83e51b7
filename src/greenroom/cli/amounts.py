"""How durations, countdowns and sizes are said in words. Must not know what they are of."""

from greenroom.clock import seconds_of

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def duration(seconds: float) -> str:
    """Seconds in their two largest units: `45 s`, `4 min 10 s`, `2 h`, `3 d 4 h`."""
    left = max(0, round(seconds))
    said: list[str] = []
    for length, unit in UNITS:
        count, left = divmod(left, length)
        if count:
            said.append(f"{count} {unit}")
        elif said:
            break  # `1 d 5 s` would only look exact
    return " ".join(said[:2]) or "0 s"


def seconds_to(instant: str, now: float) -> float:
    """How far away an instant is, by this machine's wall clock; negative when it is past."""
    return seconds_of(instant) - now


def size(count: int) -> str:
    """Bytes in the unit that people would choose."""
    for length, unit in SIZES:
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} B"
