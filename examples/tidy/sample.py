"""Creates a small untidy repository to try the team on: `python sample.py FOLDER`. An existing one is not changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FILES = {
    "pyproject.toml": '[project]\nname = "till"\nversion = "1"\n\n[tool.ruff.lint]\nselect = ["E", "F", "I", "UP"]\n',
    "till.py": '''import sys
import os
from typing import List, Optional


def total(prices: List[float], discount: Optional[float] = None) -> float:
    """Add up what is in the basket."""
    sum_of_all = sum(prices)
    if discount == None:
        return sum_of_all
    return sum_of_all * (1 - discount)


def receipt(prices: List[float]) -> str:
    """What the customer takes home."""
    lines = ["%.2f" % price for price in prices]
    lines.append(f"--------")
    lines.append("{:.2f}".format(total(prices)))
    return "\\n".join(lines)
''',
    "test_till.py": """import unittest

from till import receipt, total


class TillTest(unittest.TestCase):
    def test_total(self) -> None:
        self.assertEqual(total([1.0, 2.5]), 3.5)
        self.assertEqual(total([10.0], 0.1), 9.0)

    def test_receipt(self) -> None:
        self.assertEqual(receipt([1.0, 2.5]).splitlines()[-1], "3.50")


if __name__ == "__main__":
    unittest.main()
""",
}
AUTHOR = ("-c", "user.name=Sample", "-c", "user.email=sample@localhost", "-c", "commit.gpgsign=false")


def make_sample(folder: Path) -> None:
    """Write the files and commit them. Does nothing if the folder contains a repository already."""
    if (folder / ".git").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    for command in (("init", "-q"), ("add", "."), (*AUTHOR, "commit", "-q", "-m", "A till that works")):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python sample.py FOLDER")
    make_sample(Path(sys.argv[1]))
