"""Converts a terminal screen to an SVG picture, with its colours and exactly its text.

Usage: `tmux capture-pane -ep -t PANE | .venv/bin/python -m tools.picture > docs/pictures/status.svg`.
"""

import re
import sys
from io import StringIO

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

FONT_FACE = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
FONTS = "ui-monospace, SFMono-Regular, Menlo, 'DejaVu Sans Mono', monospace"
# Rich's own format loads its font from the network; the picture must not.
FORM = FONT_FACE.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code, monospace", FONTS)


def draw(screen: str, title: str) -> str:
    """Convert a screen, given as `tmux capture-pane -e` prints it."""
    lines = screen.rstrip().splitlines()
    text = Text("\n").join(Text.from_ansi(line) for line in lines)
    width = max(line.cell_len for line in text.split("\n"))
    console = Console(record=True, file=StringIO(), width=width, force_terminal=True, legacy_windows=False)
    console.print(text, soft_wrap=True)
    return console.export_svg(title=title, code_format=FORM, unique_id="terminal")


if __name__ == "__main__":
    print(draw(sys.stdin.read(), "greenroom"), end="")
