"""Suggests a known name for a misspelt one."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggest_name(word: str, known: Iterable[str]) -> str:
    """One sentence: the closest known name, or all of them when none is close."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Valid: {', '.join(f'`{name}`' for name in names)}." if names else "No name is valid here."
