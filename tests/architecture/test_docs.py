"""The documents say what is so: what they name is there, and what is there they name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from greenroom.cli.verbs import GROUPS, VERBS
from greenroom.domain.reliability import Reliability, variable_of
from greenroom.server.routes import OPERATIONS
from greenroom.settings.resolve import OWN_VARIABLES
from greenroom.wire.problems import STATUS_OF_CODE
from greenroom.wire.requests import Fact
from tests.architecture.tree import ROOT
from tools.durations import MEANING
from tools.pages import DRAWINGS, PAGES, current, names_in

DOCS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md"))
)
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^ *```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
CALLED = re.compile(r"(?:^|[\s`(/])greenroom (?P<words>[a-z][a-z-]*(?: [a-z][a-z-]*)?)")
EVENT = re.compile(r"(?:agent|attention|machine|message|participant|role|room|server|task)\.[a-z_]+")
VARIABLE = re.compile(r"\bGREENROOM_[A-Z_]+[A-Z]\b")
PATH = re.compile(r"(?:src|tests|docs|examples|tools|bench)/[\w./-]+|\.ci/\w+|(?:cli|client|agent|daemon|domain|process"
                  r"|server|service|settings|store|wire)/[\w/]+\.py")  # fmt: skip


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def section(page: str, marker: str) -> str:
    """What a page says between `<!-- marker -->` and `<!-- end -->`."""
    return page.partition(f"<!-- {marker} -->")[2].partition("<!-- end -->")[0]


def first_cells(table: str, column: int = 0) -> list[str]:
    """The code words of one column of a table."""
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
    return [word for row in rows for word in CODE.findall(row[column])]


# What is drawn.


@pytest.mark.parametrize("name", PAGES)
def test_drawn_pages_are_current(name: str) -> None:
    page = read(name)
    assert current(page) == page, "draw it anew: .venv/bin/python -m tools.pages"


def test_every_drawing_has_a_place() -> None:
    assert sorted(DRAWINGS) == sorted(name for page in PAGES for name in names_in(read(page)))


def test_a_page_that_is_old_is_drawn_anew() -> None:
    old = "before\n<!-- drawn: verdicts -->\nOLD\n<!-- end -->\nafter\n"
    new = current(old)
    assert "OLD" not in new
    assert new.startswith("before\n<!-- drawn: verdicts -->\n\n| caller")
    assert new.endswith("\n\n<!-- end -->\nafter\n")
    assert current(new) == new


def test_every_duration_has_a_meaning() -> None:
    assert Reliability.__struct_fields__ == tuple(MEANING)


def test_every_duration_has_an_effect() -> None:
    source = "".join(path.read_text("utf-8") for path in SOURCES)
    assert [name for name in MEANING if not re.search(rf"\.{name}\b", source)] == []


# What is named.


@pytest.mark.parametrize("name", DOCS)
def test_links_lead_somewhere(name: str) -> None:
    for link in LINK.finditer(read(name)):
        target, _, anchor = link["target"].partition("#")
        if target.startswith(("http://", "https://")):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), f"{name}: {link['target']} is not there"
        if anchor:
            assert anchor in anchors(path.read_text("utf-8")), f"{name}: {target} has no heading for #{anchor}"
        if path.suffix == ".py" and link["text"].isidentifier():
            assert link["text"] in defined_in(path), f"{name}: {target} does not define {link['text']}"


@pytest.mark.parametrize("name", DOCS)
def test_paths_are_there(name: str) -> None:
    for word in CODE.findall(BLOCK.sub("", read(name))):
        for path in PATH.findall(word):
            places = (ROOT / path, ROOT / "src/greenroom" / path)
            assert any(place.exists() for place in places), f"{name}: {path} is not there"


@pytest.mark.parametrize("name", DOCS)
def test_targets_of_make_are_there(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z]+)", read(name), re.MULTILINE):
        assert target in targets, f"{name}: there is no `make {target}`"


@pytest.mark.parametrize("name", DOCS)
def test_verbs_are_there(name: str) -> None:
    known = {word for verb in VERBS for word in (verb.name, *verb.aliases)}
    for words in commands_in(read(name)):
        first, _, second = words.partition(" ")
        wanted = f"{first} {second}" if first in GROUPS else first
        assert wanted in known or (first in GROUPS and not second), f"{name}: there is no `greenroom {wanted}`"


# What has to be said.


def test_every_variable_is_explained() -> None:
    explained = set(VARIABLE.findall(read("docs/operations.md")))
    known = {f"GREENROOM_{name}" for name in OWN_VARIABLES} | set(map(variable_of, Reliability.__struct_fields__))
    used = {name for path in (*SOURCES, *(ROOT / "examples").rglob("*.py")) for name in variables_in(path)}
    assert known | used == explained


def test_every_event_is_explained() -> None:
    explained = first_cells(section(read("docs/protocol.md"), "events"))
    assert len(set(explained)) == len(explained)
    assert recorded_types() == set(explained)


def test_every_problem_is_explained() -> None:
    table = section(read("docs/protocol.md"), "problems")
    statuses = [int(line.split("|")[1]) for line in table.splitlines() if re.match(r"\| \d", line)]
    assert STATUS_OF_CODE == dict(zip(first_cells(table, 1), statuses, strict=True))


def test_every_call_is_explained() -> None:
    told = first_cells(section(read("docs/protocol.md"), "drawn: calls"))
    assert [f"{call.method.value} {call.path}" for call in OPERATIONS] == told


def test_every_metric_is_explained() -> None:
    table = section(read("docs/operations.md"), "metrics")
    explained = {re.sub(r"(_total)?(\{.*)?$", "", word) for word in first_cells(table)}
    source = read("src/greenroom/server/metrics.py")
    named = set(re.findall(r'"greenroom_(\w+)"', source)) | set(re.findall(r'(?:counter|gauge)\(\s*"(\w+)"', source))
    assert {f"greenroom_{name}" for name in named} == explained


def commands_in(text: str) -> Iterator[str]:
    """The words after `greenroom` in code, where a command is meant: two of them, if there are two."""
    parts = [found["text"] for found in BLOCK.finditer(text) if found["language"] != "toml"]
    for part in (*parts, *CODE.findall(BLOCK.sub("", text))):
        yield from (found["words"] for found in CALLED.finditer(part))


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def defined_in(path: Path) -> set[str]:
    """Every function and class of a module."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def strings_in(path: Path) -> Iterator[str]:
    """Every string of a module, but for docstrings and what is put together from pieces."""
    tree = ast.parse(path.read_text("utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def variables_in(path: Path) -> set[str]:
    return {name for text in strings_in(path) for name in VARIABLE.findall(text)}


def recorded_types() -> set[str]:
    """The types of events that the service records. Those of a daemon's facts are put together from their kinds."""
    types = {
        text for path in (ROOT / "src/greenroom/service").glob("*.py") for text in strings_in(path)
        if EVENT.fullmatch(text)
    }  # fmt: skip
    kinds = next(field.type for field in msgspec.structs.fields(Fact) if field.name == "kind")
    return types | {f"agent.{kind}" for kind in get_args(kinds)}
