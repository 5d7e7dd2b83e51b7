"""Spells tables in Markdown. Must not know what stands in them."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """One line for the heads, one for each row."""
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(cell or ' ' for cell in row)} |" for row in (heads, rule, *rows))


def code(text: str) -> str:
    """A word as code; nothing stays nothing."""
    return f"`{text}`" if text else ""
