"""The documents are current: what they name exists, and what they must document is documented."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from greenroom.cli.verbs import GROUPS, VERBS
from greenroom.domain.limits import Limits, variable_name
from greenroom.server.routes import OPERATIONS
from greenroom.settings.resolve import NAMED_VARIABLES
from greenroom.wire.problems import STATUS_OF_CODE
from greenroom.wire.requests import AgentReport
from tests.architecture.tree import ROOT
from tools.limits import MEANINGS
from tools.pages import DRAWINGS, PAGES, list_drawings, redraw

DOCS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md"))
)
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s`(/])greenroom (?P<words>[a-z][a-z-]*(?: [a-z][a-z-]*)?)")
EVENT = re.compile(r"(?:agent|alert|machine|message|participant|role|room|server|task)\.[a-z_]+")
VARIABLE = re.compile(r"\bGREENROOM_[A-Z_]+[A-Z]\b")
PATH = re.compile(r"(?:src|tests|docs|examples|tools|bench)/[\w./-]+|\.ci/\w+|(?:cli|client|agent|daemon|domain|process"
                  r"|server|service|settings|store|wire)/[\w/]+\.py")  # fmt: skip


def read_page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def section(page: str, marker: str) -> str:
    """The text of a page between `<!-- marker -->` and `<!-- end -->`."""
    return page.partition(f"<!-- {marker} -->")[2].partition("<!-- end -->")[0]


def first_cells(table: str, column: int = 0) -> list[str]:
    """The code words of one column of a table."""
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
    return [word for row in rows for word in CODE.findall(row[column])]


# Generated parts.


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_current(name: str) -> None:
    page = read_page(name)
    assert redraw(page) == page, "outdated; generate it again: .venv/bin/python -m tools.pages"


def test_generated_parts_have_markers() -> None:
    assert sorted(DRAWINGS) == sorted(name for page in PAGES for name in list_drawings(read_page(page)))


def test_outdated_page_is_regenerated() -> None:
    old = "before\n<!-- drawn: verdicts -->\nOLD\n<!-- end -->\nafter\n"
    new = redraw(old)
    assert "OLD" not in new
    assert new.startswith("before\n<!-- drawn: verdicts -->\n\n| caller")
    assert new.endswith("\n\n<!-- end -->\nafter\n")
    assert redraw(new) == new


def test_durations_are_described() -> None:
    assert Limits.__struct_fields__ == tuple(MEANINGS)


def test_durations_are_used() -> None:
    source = "".join(path.read_text("utf-8") for path in SOURCES)
    assert [name for name in MEANINGS if not re.search(rf"\.{name}\b", source)] == []


# What the documents name exists.


@pytest.mark.parametrize("name", DOCS)
def test_links_resolve(name: str) -> None:
    for link in LINK.finditer(read_page(name)):
        target, _, anchor = link["target"].partition("#")
        if target.startswith(("http://", "https://")):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), f"{name}: {link['target']} does not exist"
        if anchor:
            assert anchor in heading_anchors(path.read_text("utf-8")), f"{name}: {target} has no heading for #{anchor}"
        if path.suffix == ".py" and link["text"].isidentifier():
            assert link["text"] in definitions_in(path), f"{name}: {target} does not define {link['text']}"


@pytest.mark.parametrize("name", DOCS)
def test_paths_exist(name: str) -> None:
    for word in CODE.findall(BLOCK.sub("", read_page(name))):
        for path in PATH.findall(word):
            places = (ROOT / path, ROOT / "src/greenroom" / path)
            assert any(place.exists() for place in places), f"{name}: {path} does not exist"


@pytest.mark.parametrize("name", DOCS)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read_page("Makefile"), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z]+)", read_page(name), re.MULTILINE):
        assert target in targets, f"{name}: there is no `make {target}`"


@pytest.mark.parametrize("name", DOCS)
def test_commands_exist(name: str) -> None:
    known = {word for verb in VERBS for word in (verb.name, *verb.aliases)}
    for words in commands_in(read_page(name)):
        first, _, second = words.partition(" ")
        wanted = f"{first} {second}" if first in GROUPS else first
        assert wanted in known or (first in GROUPS and not second), f"{name}: there is no `greenroom {wanted}`"


# What must be documented.


def test_variables_are_documented() -> None:
    documented = set(VARIABLE.findall(read_page("docs/operations.md")))
    known = {f"GREENROOM_{name}" for name in NAMED_VARIABLES} | set(map(variable_name, Limits.__struct_fields__))
    used = {name for path in (*SOURCES, *(ROOT / "examples").rglob("*.py")) for name in variables_in(path)}
    assert known | used == documented


def test_events_are_documented() -> None:
    documented = first_cells(section(read_page("docs/protocol.md"), "events"))
    assert len(set(documented)) == len(documented)
    assert recorded_types() == set(documented)


def test_error_codes_are_documented() -> None:
    table = section(read_page("docs/protocol.md"), "problems")
    statuses = [int(line.split("|")[1]) for line in table.splitlines() if re.match(r"\| \d", line)]
    assert STATUS_OF_CODE == dict(zip(first_cells(table, 1), statuses, strict=True))


def test_routes_are_documented() -> None:
    documented = first_cells(section(read_page("docs/protocol.md"), "drawn: calls"))
    assert [f"{call.method.value} {call.path}" for call in OPERATIONS] == documented


def test_metrics_are_documented() -> None:
    table = section(read_page("docs/operations.md"), "metrics")
    documented = {re.sub(r"(_total)?(\{.*)?$", "", word) for word in first_cells(table)}
    source = read_page("src/greenroom/server/metrics.py")
    named = set(re.findall(r'"greenroom_(\w+)"', source)) | set(re.findall(r'(?:counter|gauge)\(\s*"(\w+)"', source))
    assert {f"greenroom_{name}" for name in named} == documented


def commands_in(text: str) -> Iterator[str]:
    """The first one or two words after `greenroom` in each command that stands in code."""
    parts = [found["text"] for found in BLOCK.finditer(text) if found["language"] not in ("toml", "python")]
    for part in (*parts, *CODE.findall(BLOCK.sub("", text))):
        yield from (found["words"] for found in COMMAND.finditer(part))


def heading_anchors(text: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}


def definitions_in(path: Path) -> set[str]:
    """The names of all functions and classes of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def strings_in(path: Path) -> Iterator[str]:
    """Every string literal of a module except docstrings; of an f-string, its constant parts."""
    tree = ast.parse(path.read_text("utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def variables_in(path: Path) -> set[str]:
    return {name for text in strings_in(path) for name in VARIABLE.findall(text)}


def recorded_types() -> set[str]:
    """The types of events that the service records. Those of a daemon's reports are composed from their kinds."""
    types = {
        text for path in (ROOT / "src/greenroom/service").glob("*.py") for text in strings_in(path)
        if EVENT.fullmatch(text)
    }  # fmt: skip
    kinds = next(field.type for field in msgspec.structs.fields(AgentReport) if field.name == "kind")
    return types | {f"agent.{kind}" for kind in get_args(kinds)}
