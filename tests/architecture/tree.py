"""The files of this checkout. Knows where they lie; must not know what is asked of them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src", "tests", "bench", "examples", "tools")


class Source(NamedTuple):
    """One text file: its path from the root, spelled with slashes, and its text."""

    path: str
    text: str


def python_sources() -> Iterator[Source]:
    """Every Python file that people wrote."""
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))


def published_sources() -> Iterator[Source]:
    """Every text file that git has or would take. Outside of a git checkout git's own error says why there is none."""
    # The option on the command line lets a checkout that another user owns be listed too; nothing in it is executed.
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    for name in sorted(filter(None, listing.stdout.split("\0"))):
        path = ROOT / name
        if path.is_file():  # A file that is deleted but not yet committed is still listed.
            content = path.read_bytes()
            if b"\0" not in content:
                yield Source(name, content.decode("utf-8"))
