"""Finds the changes that a method makes to shared objects without holding `self._lock`."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from tests.architecture.tree import Source

CHANGING_METHODS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "remove"),
    *("reverse", "setdefault", "sort", "update"),
    *("advance", "renew", "take_due"),
}
"""The methods of containers, of leases and of the timing wheel that change them."""
LOCK = "self._lock"


class Change(NamedTuple):
    """A statement that changes an object, or the name of the private method of `self` that is called for it."""

    line: int
    called: str | None = None


def unlocked_changes(source: Source) -> Iterator[str]:
    """Every public method of a `Locked` class that changes it without its lock, and every one without a lock."""
    for node in ast.parse(source.text).body:
        if isinstance(node, ast.ClassDef) and "Locked" in {ast.unparse(base) for base in node.bases}:
            methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
            if "__init__" not in methods or f"{LOCK} = threading.Lock()" not in ast.unparse(methods["__init__"]):
                yield f"{source.path}:{node.lineno}: {node.name} has no lock: set `{LOCK}` in `__init__`"
            unlocked = {name: list(changes_of(method)) for name, method in methods.items() if name != "__init__"}
            for name in unlocked:
                is_public = not name.startswith("_") or name.endswith("__")
                if is_public and (line := find_change(name, unlocked, set())) is not None:
                    yield f"{source.path}:{line}: {node.name}.{name} changes it without `with {LOCK}`"


def changing_methods(source: Source, class_name: str) -> set[str]:
    """The names of the public methods of a class that change it, whether they take a lock or not."""
    (node,) = (
        each for each in ast.parse(source.text).body if isinstance(each, ast.ClassDef) and each.name == class_name
    )
    methods = {each.name: list(changes_of(each)) for each in node.body if isinstance(each, ast.FunctionDef)}
    return {name for name in methods if not name.startswith("_") and find_change(name, methods, set()) is not None}


def find_change(method: str, unlocked: dict[str, list[Change]], visited: set[str]) -> int | None:
    """The line of the first unlocked change that a method makes, itself or through the private methods it calls."""
    if method in visited:
        return None
    visited.add(method)
    for change in unlocked.get(method, []):
        if change.called is None or find_change(change.called, unlocked, visited) is not None:
            return change.line
    return None


def changes_of(function: ast.FunctionDef) -> Iterator[Change]:
    """The changes that a function makes outside of `with self._lock`. A function inside it runs later, unlocked."""
    yield from visit(function.body, own_containers(function))


def visit(nodes: list[ast.stmt], own: set[str]) -> Iterator[Change]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            yield from changes_of(node)
        elif isinstance(node, ast.With) and LOCK in {ast.unparse(item.context_expr) for item in node.items}:
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef):
                    yield from changes_of(inner)
        else:
            blocks = [block for _, block in ast.iter_fields(node) if is_block(block)]
            for block in blocks:
                yield from visit(block, own)
            yield from changes_in_statement(node, own)


def is_block(field: object) -> bool:
    return isinstance(field, list) and bool(field) and isinstance(field[0], ast.stmt)


def changes_in_statement(node: ast.stmt, own: set[str]) -> Iterator[Change]:
    """The changes that a statement makes apart from those of the statements inside it."""
    targets: list[ast.expr] = []
    match node:
        case ast.Assign(targets=assigned) | ast.Delete(targets=assigned):
            targets = [each for target in assigned for each in getattr(target, "elts", [target])]
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            targets = [target]
    if any(isinstance(target, ast.Attribute | ast.Subscript) and root_of(target) not in own for target in targets):
        yield Change(node.lineno)
    for call in expressions_of(node):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            if call.func.attr in CHANGING_METHODS and root_of(call.func.value) not in own:
                yield Change(call.lineno)
            elif ast.unparse(call.func.value) == "self":
                yield Change(call.lineno, called=call.func.attr)


def expressions_of(node: ast.stmt) -> Iterator[ast.AST]:
    """All expressions of a statement, without those of the statements inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield from ast.walk(child)


def root_of(node: ast.expr) -> str:
    """The name at the beginning of `name.attribute[key]`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def own_containers(function: ast.FunctionDef) -> set[str]:
    """The names of the containers that a function makes for itself."""
    made = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    own = set[str]()
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if isinstance(value, made):
                own.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if isinstance(value, made):
                own.add(name)
    return own
