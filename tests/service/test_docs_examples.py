"""The Python examples of the docs run as they stand, each against a real server, and their types are right."""

import inspect
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from greenroom import testing
from tests.architecture.tree import ROOT

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class DocsExample(NamedTuple):
    """A block of Python in a page."""

    name: str
    code: str


EXAMPLES = [
    DocsExample(f"{page.stem}_{number}", found["code"])
    for page in sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")))
    for number, found in enumerate(BLOCK.finditer(page.read_text("utf-8")), start=1)
]


def test_examples_are_found() -> None:
    assert {"python_1", "python_2", "python_3"} <= {example.name for example in EXAMPLES}


@pytest.mark.process
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example_runs(
    example: DocsExample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the example does by itself is done against a server of its own; then its tests are called."""
    file = tmp_path / f"{example.name}.py"
    file.write_text(example.code)
    with testing.server() as server:
        monkeypatch.setenv("GREENROOM_URL", server.url)
        monkeypatch.setenv("GREENROOM_TOKEN", server.token)
        names = runpy.run_path(str(file))
        printed = capsys.readouterr().out
        tests = [function for name, function in names.items() if name.startswith("test_")]
        sent = [message.id for room in server.client().rooms() for message in server.client().messages(room.name)]

    assert tests or printed.split() == sent != []
    for test in tests:
        call_with_folder(test, tmp_path)


def call_with_folder(test: Any, folder: Path) -> None:
    """Call a test as pytest does, with `tmp_path` if it takes that."""
    test(*([folder] if "tmp_path" in inspect.signature(test).parameters else []))


@pytest.mark.process
def test_types_of_examples(tmp_path: Path) -> None:
    files = [tmp_path / f"{example.name}.py" for example in EXAMPLES]
    for file, example in zip(files, EXAMPLES, strict=True):
        file.write_text(example.code)

    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *map(str, files)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)

    assert 0 == outcome.returncode, outcome.stdout + outcome.stderr
