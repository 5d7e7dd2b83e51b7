"""Each class of shared memory says which thread may change it, and a `Locked` one takes its lock to change itself."""

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from typing import Any, NamedTuple

import msgspec
import pytest

from greenroom import service
from greenroom.service.state.thread_rules import Guarded, Locked, LoopOnly, WriterOnly
from tests.architecture.thread_rules import changing_methods, unlocked_changes
from tests.architecture.tree import Source, python_sources

RULES = (Locked, WriterOnly, LoopOnly, Guarded)


def service_classes() -> Iterator[type[Any]]:
    """Every class that is defined in a module of the service."""
    for module in pkgutil.walk_packages(service.__path__, "greenroom.service."):
        for item in vars(import_module(module.name)).values():
            if isinstance(item, type) and item.__module__ == module.name and item not in RULES:
                yield item


def rules_of(item: type[Any]) -> list[type[Any]]:
    return [rule for rule in RULES if issubclass(item, rule)]


def is_value(item: type[Any]) -> bool:
    """Whether its objects cannot be changed."""
    if issubclass(item, msgspec.Struct):
        return item.__struct_config__.frozen
    if is_dataclass(item):
        return bool(item.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return issubclass(item, tuple | Exception)


def state_sources() -> list[Source]:
    return [source for source in python_sources() if source.path.startswith("src/greenroom/service/")]


def test_each_class_has_one_rule() -> None:
    classes = list(service_classes())
    assert {rule for item in classes for rule in rules_of(item)} == set(RULES), "not all classes were found"

    assert [] == [
        f"{item.__module__}.{item.__name__}" for item in classes if len(rules_of(item)) != (not is_value(item))
    ]


def test_missing_rule_is_reported() -> None:
    @dataclass
    class Changeable:
        count: int

    @dataclass(frozen=True)
    class FrozenData:
        count: int

    class Pair(NamedTuple):
        first: int

    class Changing(msgspec.Struct):
        count: int

    assert [False, True, True, False] == [is_value(item) for item in (Changeable, FrozenData, Pair, Changing)]


def test_locked_classes_take_their_lock() -> None:
    sources = state_sources()
    locked = [item for item in service_classes() if issubclass(item, Locked)]
    assert len(locked) == sum(source.text.count("(Locked)") for source in sources), "a class is derived in another way"

    assert [] == [violation for source in sources for violation in unlocked_changes(source)]


HEAD = """\
class Table(Locked):
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows = {}

"""
PRIVATE_PUT = "\n\ndef _put(self, key):\n    self._rows[key] = 1"
LATER = "        def undo():\n            self._rows.clear()\n"
UNLOCKED = {
    "item set": "def put(self, key):\n    self._rows[key] = 1",
    "item deleted": "def drop(self, key):\n    del self._rows[key]",
    "attribute set": "def reset(self):\n    self._rows = {}",
    "one of two set": "def swap(self):\n    rows, self._rows = self._rows, {}",
    "counted": "def count(self):\n    self.total += 1",
    "container changed": "def drop(self, key):\n    self._rows.pop(key, None)",
    "changed in an expression": "def drop(self, key):\n    return self._rows.pop(key, None)",
    "changed in a condition": "def drop(self, key):\n    if self._rows.pop(key, None):\n        return 1",
    "part changed": "def mark(self, key):\n    row = self._rows[key]\n    row.is_ending = True",
    "changed after the lock": "def put(self, key):\n    with self._lock:\n        pass\n    self._rows[key] = 1",
    "changed in a loop": "def drop(self):\n    for key in [1]:\n        self._rows.pop(key)",
    "under another lock": "def put(self, key):\n    with self._other:\n        self._rows[key] = 1",
    "changed by a private method": "def put(self, key):\n    self._put(key)" + PRIVATE_PUT,
    "changed later": "def put(self):\n    with self._lock:\n" + LATER + "    return undo",
    "changed by an operator": "def __setitem__(self, key, value):\n    self._rows[key] = value",
}
LOCKED = {
    "under the lock": "def put(self, key):\n    with self._lock:\n        self._rows[key] = 1",
    "private, under the caller's lock": (
        "def put(self, key):\n    with self._lock:\n        self._put(key)" + PRIVATE_PUT
    ),
    "private, with a lock": (
        "def put(self, key):\n    self._put(key)\n\ndef _put(self, key):\n"
        "    with self._lock:\n        self._rows[key] = 1"
    ),
    "own list": "def find(self):\n    found = []\n    found.append(1)\n    return found",
    "read": "def get(self, key):\n    return self._rows.get(key)",
}


def make_source(methods: str) -> Source:
    indented = "\n".join(f"    {line}" if line else "" for line in methods.splitlines())
    return Source("src/greenroom/service/state/table.py", HEAD + indented + "\n")


@pytest.mark.parametrize("methods", UNLOCKED.values(), ids=UNLOCKED)
def test_change_without_lock_is_reported(methods: str) -> None:
    assert 1 == len(list(unlocked_changes(make_source(methods))))


@pytest.mark.parametrize("methods", LOCKED.values(), ids=LOCKED)
def test_change_under_lock_is_accepted(methods: str) -> None:
    assert [] == list(unlocked_changes(make_source(methods)))


def test_class_without_lock_is_reported() -> None:
    text = "class Table(Locked):\n    def get(self):\n        return self._rows\n"

    (violation,) = unlocked_changes(Source("src/greenroom/service/state/table.py", text))

    assert "Table has no lock" in violation


def test_removed_locks_are_reported() -> None:
    """In each of the project's own `Locked` classes, so that the check sees how they change themselves."""
    locked = {item.__name__ for item in service_classes() if issubclass(item, Locked)}
    faulty = [Source(path, text.replace("with self._lock:", "if True:")) for path, text in state_sources()]
    reported = {violation.split()[1].partition(".")[0] for source in faulty for violation in unlocked_changes(source)}

    assert locked == reported


def test_changing_methods() -> None:
    text = "def put(self, key):\n    self._rows[key] = 1\n\ndef get(self, key):\n    return self._rows[key]"

    assert {"put"} == changing_methods(make_source(text), "Table")
