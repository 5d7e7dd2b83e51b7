"""Lists the source files of this checkout."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CODE = ("src", "tests", "bench", "examples", "tools")


class Source(NamedTuple):
    """One text file: its path from the root, with forward slashes, and its text."""

    path: str
    text: str


def python_sources() -> Iterator[Source]:
    """Every Python file of the project's own code."""
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))


def published_sources() -> Iterator[Source]:
    """Every text file that git tracks or would add. Outside of a git checkout, git's own error is raised."""
    # safe.directory lets git list a checkout that another user owns; nothing in it is executed.
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    for name in sorted(filter(None, listing.stdout.split("\0"))):
        path = ROOT / name
        if path.is_file():  # git still lists a file whose deletion is not committed.
            content = path.read_bytes()
            if b"\0" not in content:
                yield Source(name, content.decode("utf-8"))
