"""Formats tables in Markdown."""

from collections.abc import Iterable, Sequence


def format_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with one line for the headings, one for the rule, and one for each row."""
    rule = ["---"] * len(headings)
    return "\n".join(f"| {' | '.join(cell or ' ' for cell in row)} |" for row in (headings, rule, *rows))


def format_code(text: str) -> str:
    """The text in backticks; an empty text stays empty."""
    return f"`{text}`" if text else ""
