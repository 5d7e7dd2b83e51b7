"""The product creates files and folders in one way only: with permissions for their owner alone."""

import ast
from collections.abc import Iterator

from tests.architecture.tree import ROOT

CREATORS = {
    "src/greenroom/private_files.py": "creates them for all others",
    "src/greenroom/process/shim.py": "imports nothing, and gives each file its mode itself",
}
CREATING_METHODS = {"mkdir", "touch", "write_bytes", "write_text", "makedirs", "mkstemp", "mkdtemp", "mkfifo"}


def creations(tree: ast.AST) -> Iterator[int]:
    """The lines of calls that create a file or folder and leave its mode to the umask."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if isinstance(function, ast.Attribute) and name in CREATING_METHODS:
            yield node.lineno
        if name != "open":
            continue
        words = {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
        modes = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        writes = any(set("wax+") & set(mode) for mode in modes) and len(modes[-1]) <= 3
        if "O_CREAT" in words or (writes and "opener" not in {keyword.arg for keyword in node.keywords}):
            yield node.lineno


def test_files_are_created_in_one_place() -> None:
    found, read = [], 0
    for path in sorted((ROOT / "src").rglob("*.py")):
        name, read = str(path.relative_to(ROOT)), read + 1
        if name not in CREATORS:
            found += [f"{name}:{line}" for line in creations(ast.parse(path.read_text("utf-8")))]
    assert read > 100
    assert [] == found, "use greenroom.private_files or greenroom.settings.files"


def test_violations_are_found() -> None:
    source = """
folder.mkdir(parents=True)
path.write_text("a")
open(path, "w")
open(path, "ab", opener=open_private)
os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
os.open(path, os.O_RDWR)
open(path, "rb")
write_text(path, "a")
"""
    assert [2, 3, 4, 6] == sorted(creations(ast.parse(source)))
