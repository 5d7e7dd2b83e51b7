"""Style rules of this project: each check takes one source file and yields its violations."""

import ast
import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import PurePosixPath

from greenroom.exit_codes import ExitCode
from tests.architecture.tree import Source
from tests.architecture.vocabulary import check_file_is_noun, check_words

Check = Callable[[Source], Iterator[str]]

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
MEANINGLESS_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}
REGISTRY_HOSTS = re.compile(r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:com|org)|jfrog\.io|proxy\.golang\.org)\b")
INTERNAL_MODULES = re.compile(r"greenroom\.(?:service|store|(?:server|daemon)(?!\.run\b))\b")
LAZY_IMPORTS = {
    "src/greenroom/store/migrations/runner.py": "greenroom.store.migrations.alembic_upgrade",
    "src/greenroom/store/store.py": "greenroom.store.postgres.engine",
}
WAITING_MODULE = "tests/waiting.py"
WAITING_CALLS = {
    "wait",
    "wait_for",
    "wait_until",
    "join",
    "result",
    "exception",
    "communicate",
    "settimeout",
    "timeout",
    "sleep_until",
}
TIMEOUT_PARAMETERS = {"timeout", "deadline_s", "within_s", "patience_s"}
LIMIT_NAME = re.compile(r"DEADLINE|PATIENCE|GIVES_UP|WITHIN|SLACK|ALLOWANCE")
NEGATIVE_WAIT_S_MAX = 3
"""Seconds for which a test may check that something does not happen."""
CLOCK_READ = re.compile(r"(?:\btime\.(?:monotonic|time|perf_counter)|SystemClock)\(\)(?:\.\w+\(\))?$")
ASYNC_PACKAGES = ("src/greenroom/server/", "src/greenroom/testing/")
EXIT_CODES_MODULE = "src/greenroom/exit_codes.py"
DISTINCT_EXIT_CODES = {code.value for code in ExitCode if code > ExitCode.CONFLICT}
"""Those that stand for nothing but an exit code; a 0 or a 3 may be any number."""
HOME_FOLDERS = re.compile(r"(?<![\w.~-])/(?:home/(?!you\b)\w|Users/(?!you\b)\w|root/)")


def check_file_length(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{source.path}: {lines} lines, at most {FILE_LINES_MAX}; move its second subject to a file of its own"


def check_function_length(source: Source) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield (
                    f"{source.path}:{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}; "
                    "split it into named steps"
                )


def check_file_names(source: Source) -> Iterator[str]:
    path = PurePosixPath(source.path)
    for part in (*path.parent.parts, path.stem):
        if part in MEANINGLESS_NAMES:
            yield f"{source.path}: `{part}` says nothing; name the file after what it contains"


def check_module_docstring(source: Source) -> Iterator[str]:
    """An empty `__init__.py` needs a docstring too."""
    if source.path.startswith("src/") and not ast.get_docstring(ast.parse(source.text)):
        yield f"{source.path}:1: no docstring; begin with what the module does"


def check_struct_annotations(source: Source) -> Iterator[str]:
    """msgspec evaluates annotations when a class is created; postponed ones cost time and may not resolve."""
    imports = {name for name, _ in absolute_imports(source)}
    if "__future__.annotations" in imports and "msgspec" in {name.partition(".")[0] for name in imports}:
        yield f"{source.path}: postponed annotations beside msgspec; remove the import from __future__"


def check_async_only_in_server(source: Source) -> Iterator[str]:
    """`async def` is for `server`, and for `testing`, which runs it.

    Domain, store and service run the same in a test and in a request.
    """
    if source.path.startswith("src/greenroom/") and not source.path.startswith(ASYNC_PACKAGES):
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, ast.AsyncFunctionDef):
                yield f"{source.path}:{node.lineno}: `async def {node.name}` outside of the server; make it a plain def"


def check_domain_imports(source: Source) -> Iterator[str]:
    """import-linter forbids listed modules only; this check forbids every library that is not permitted."""
    if source.path.startswith("src/greenroom/domain/"):
        for name, line in absolute_imports(source):
            root = name.partition(".")[0]
            if root not in sys.stdlib_module_names | {"greenroom", "msgspec"}:
                yield f"{source.path}:{line}: the domain imports {root}; pass what it needs as an argument"


def check_dynamic_imports(source: Source) -> Iterator[str]:
    """import-linter cannot see an import by string. Only the CLI has these, and only of permitted modules.

    LAZY_IMPORTS lists the other modules that import one slow module only when it is needed.
    """
    if not source.path.startswith("src/greenroom/"):
        return
    in_cli = source.path.startswith("src/greenroom/cli/")
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Call) and callee_name(node.func) in {"import_module", "__import__"} and not in_cli:
            if [ast.unparse(argument) for argument in node.args] == [repr(LAZY_IMPORTS.get(source.path))]:
                continue
            yield f"{source.path}:{node.lineno}: import-linter cannot check this; import at the top of the module"
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and in_cli
            and INTERNAL_MODULES.match(node.value)
        ):
            yield f"{source.path}:{node.lineno}: {node.value!r} is internal; import the `run` module of its package"


def check_exit_codes(source: Source) -> Iterator[str]:
    """Exit codes have one place, with their meanings."""
    if source.path.startswith("src/") and source.path != EXIT_CODES_MODULE:
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value in DISTINCT_EXIT_CODES:
                yield f"{source.path}:{node.lineno}: {node.value}; use greenroom.exit_codes"


def check_local_paths_and_registries(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if found := REGISTRY_HOSTS.search(line) or HOME_FOLDERS.search(line):
            yield f"{source.path}:{number}: {found[0]!r} belongs to one computer or registry; put it into a setting"


def check_wait_timeouts(source: Source) -> Iterator[str]:
    """Tests use the timeout of `tests/waiting.py`, which only a hang reaches, so that a busy machine fails none."""
    if not source.path.startswith("tests/") or source.path == WAITING_MODULE:
        return
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Call) and callee_name(node.func) in WAITING_CALLS:
            limits = [
                *node.args[-1:],
                *(keyword.value for keyword in node.keywords if keyword.arg in TIMEOUT_PARAMETERS),
            ]
        elif isinstance(node, ast.Call):
            limits = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
        elif isinstance(node, ast.Assign) and any(LIMIT_NAME.search(ast.unparse(target)) for target in node.targets):
            limits = [node.value]
        else:
            continue
        for limit in limits:
            if (
                isinstance(limit, ast.Constant)
                and isinstance(limit.value, int | float)
                and limit.value > NEGATIVE_WAIT_S_MAX
            ):
                yield f"{source.path}:{node.lineno}: waits for {limit.value} s; wait for PATIENCE_S of {WAITING_MODULE}"


def check_no_duration_asserts(source: Source) -> Iterator[str]:
    """Tests do not assert a maximum duration: they assert its cause, such as a number of calls. `bench/` measures."""
    if not source.path.startswith("tests/") or source.path == WAITING_MODULE:
        return
    for function in ast.walk(ast.parse(source.text)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        nodes = list(ast.walk(function))
        instants, durations = set[str](), set[str]()
        for node in nodes:
            if isinstance(node, ast.Assign | ast.AugAssign | ast.NamedExpr):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {ast.unparse(each) for target in targets for each in getattr(target, "elts", [target])}
                if is_duration(node.value, instants, durations):
                    durations |= names
                elif is_clock_read(node.value, instants):
                    instants |= names
        for node in nodes:
            if isinstance(node, ast.Assert):
                for compare in (each for each in ast.walk(node.test) if isinstance(each, ast.Compare)):
                    for smaller, larger in ordered_pairs(compare):
                        if is_duration(smaller, instants, durations) or (
                            is_clock_read(smaller) and not CLOCK_READ.search(larger)
                        ):
                            yield f"{source.path}:{node.lineno}: asserts a duration; assert its cause instead"


def is_clock_read(value: ast.expr, instants: Collection[str] = ()) -> bool:
    """Whether a value is read from a clock of the machine."""
    return any(ast.unparse(node) in instants or CLOCK_READ.search(ast.unparse(node)) for node in subexpressions(value))


def is_duration(value: ast.expr, instants: Collection[str], durations: Collection[str]) -> bool:
    """Whether a value is the time between two reads of a clock of the machine, or is computed from one."""
    return any(
        ast.unparse(node) in durations
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and is_clock_read(node, instants))
        for node in subexpressions(value)
        if not (isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant))  # an instant minus a constant
    )


def subexpressions(value: ast.expr) -> Iterator[ast.expr]:
    return (node for node in ast.walk(value) if isinstance(node, ast.expr))


def ordered_pairs(compare: ast.Compare) -> Iterator[tuple[ast.expr, str]]:
    """The (smaller, larger) pairs of a comparison. An assertion `smaller < now` sets only a minimum age."""
    sides = [compare.left, *compare.comparators]
    for operator, left, right in zip(compare.ops, sides, sides[1:], strict=False):
        if isinstance(operator, ast.Lt | ast.LtE):
            yield left, ast.unparse(right)
        elif isinstance(operator, ast.Gt | ast.GtE):
            yield right, ast.unparse(left)


def callee_name(function: ast.expr) -> str | None:
    """The name that is called: `c` for both `c()` and `a.b.c()`. None if the callee is not a name."""
    match function:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return None


def absolute_imports(source: Source) -> Iterator[tuple[str, int]]:
    """Every absolute import as (dotted name, line)."""
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


PYTHON_CHECKS: tuple[Check, ...] = (
    check_file_length,
    check_function_length,
    check_file_names,
    check_module_docstring,
    check_struct_annotations,
    check_async_only_in_server,
    check_domain_imports,
    check_dynamic_imports,
    check_exit_codes,
    check_wait_timeouts,
    check_no_duration_asserts,
    check_file_is_noun,
    check_words,
)
