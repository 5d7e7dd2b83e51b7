"""Vocabulary rules (docs/glossary.md): refused words, nouns for files, and one class for one name."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from tests.architecture.tree import Source

REFUSED = {
    *("told", "whoever", "nobody", "somebody", "anew", "wish", "wishes", "wished", "sitting", "sittings"),
    *("house", "parked", "attention", "deaths", "hand_over", "crowded"),
}
FORMER_NAMES = ("src/greenroom/store/migrations/versions/", "src/greenroom/daemon/record_conversion.py")
"""They read what versions before the glossary wrote."""
FORMER_VALUE = re.compile(r"^FORMER_\w+(: Final)? = ")


def check_words(source: Source) -> Iterator[str]:
    """No refused word stands in a name, a string or a docstring of src."""
    if not source.path.startswith("src/") or source.path.startswith(FORMER_NAMES):
        return
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.COMMENT) and not FORMER_VALUE.match(token.line):
            for word in sorted(words_of(token.string) & REFUSED):
                yield f"{source.path}:{token.start[0]}: `{word}`; docs/glossary.md has the word for it"


def words_of(text: str) -> set[str]:
    """The words of a name or a text, in lower case; of a name such as `is_wished_here` its parts, too."""
    names = re.findall(r"[a-z]+(?:_[a-z]+)*", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower())
    return {*names, *(part for name in names for part in name.split("_"))}


def check_file_is_noun(source: Source) -> Iterator[str]:
    if source.path.startswith("src/") and PurePosixPath(source.path).stem.endswith("ing"):
        yield f"{source.path}: a file is named by a noun, not by what it does"


def repeated_class_names(sources: Iterable[Source]) -> list[str]:
    """The names that two classes have, with the files."""
    places: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(source.path)
    return [f"{name}: {', '.join(paths)}" for name, paths in sorted(places.items()) if len(paths) > 1]
