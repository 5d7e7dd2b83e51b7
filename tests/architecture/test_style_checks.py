"""Each style rule reports a source that violates it, and accepts a similar source that does not."""

import pytest

from tests.architecture import style, vocabulary
from tests.architecture.tree import Source

LONG_BODY = "    pass\n" * style.FUNCTION_LINES_MAX
SHORT_BODY = "    pass\n" * (style.FUNCTION_LINES_MAX - 1)

CASES: tuple[tuple[style.Check, Source, Source], ...] = (
    (
        vocabulary.check_words,
        Source("src/greenroom/server/auth.py", "told = [value for name, value in headers]\n"),
        Source("src/greenroom/server/auth.py", "tokens = [value for name, value in headers]\n"),
    ),
    (
        vocabulary.check_words,
        Source("src/greenroom/service/roles.py", "def is_wished_here() -> bool: ...\n"),
        Source("src/greenroom/service/roles.py", "def is_assigned_here() -> bool: ...\n"),
    ),
    (
        vocabulary.check_words,
        Source("src/greenroom/cli/why.py", '"""Tells whoever asks."""\n'),
        Source("tests/unit/test_why.py", '"""Tells whoever asks."""\n'),
    ),
    (
        vocabulary.check_words,
        Source("src/greenroom/settings/paths.py", 'CONNECTIONS = "sittings"\n'),
        Source("src/greenroom/settings/paths.py", 'FORMER_CONNECTIONS = "sittings"\n'),
    ),
    (
        vocabulary.check_file_is_noun,
        Source("src/greenroom/service/mending.py", ""),
        Source("src/greenroom/service/repairs.py", ""),
    ),
    (
        style.check_file_length,
        Source("src/greenroom/long.py", "\n" * (style.FILE_LINES_MAX + 1)),
        Source("src/greenroom/long.py", "\n" * style.FILE_LINES_MAX),
    ),
    (
        style.check_function_length,
        Source("bench/run.py", f"def walk() -> None:\n{LONG_BODY}"),
        Source("bench/run.py", f"def walk() -> None:\n{SHORT_BODY}"),
    ),
    (
        style.check_file_names,
        Source("src/greenroom/store/utils.py", ""),
        Source("src/greenroom/store/utilisation.py", ""),
    ),
    (
        style.check_file_names,
        Source("src/greenroom/common/room.py", ""),
        Source("src/greenroom/commons/room.py", ""),
    ),
    (
        style.check_module_docstring,
        Source("src/greenroom/cli/__init__.py", ""),
        Source("src/greenroom/cli/__init__.py", '"""Knows verbs."""\n'),
    ),
    (
        style.check_struct_annotations,
        Source("src/greenroom/wire/replies.py", "from __future__ import annotations\nfrom msgspec import Struct\n"),
        Source("src/greenroom/wire/replies.py", "from msgspec import Struct\n"),
    ),
    (
        style.check_async_only_in_server,
        Source("src/greenroom/service/rooms.py", "async def create() -> None: ...\n"),
        Source("src/greenroom/server/routes.py", "async def create() -> None: ...\n"),
    ),
    (
        style.check_domain_imports,
        Source("src/greenroom/domain/room.py", "from attrs import define\n"),
        Source("src/greenroom/domain/room.py", "from msgspec import Struct\nimport re\n"),
    ),
    (
        style.check_dynamic_imports,
        Source(
            "src/greenroom/agent/work.py", "from importlib import import_module\nimport_module('greenroom.store')\n"
        ),
        Source(
            "src/greenroom/cli/verbs.py", "from importlib import import_module\nimport_module('greenroom.cli.up')\n"
        ),
    ),
    (
        style.check_dynamic_imports,
        Source("src/greenroom/cli/verbs.py", "SERVER = 'greenroom.server.app'\n"),
        Source("src/greenroom/cli/verbs.py", "SERVER = 'greenroom.server.run'\n"),
    ),
    (
        style.check_dynamic_imports,
        Source(
            "src/greenroom/store/migrations/runner.py",
            "from importlib import import_module\nimport_module('alembic')\n",
        ),
        Source(
            "src/greenroom/store/migrations/runner.py",
            "from importlib import import_module\nimport_module('greenroom.store.migrations.alembic_upgrade')\n",
        ),
    ),
    (
        style.check_wait_timeouts,
        Source("tests/unit/test_room.py", "def test_it() -> None:\n    done.wait(20)\n"),
        Source(
            "tests/unit/test_room.py", "def test_it() -> None:\n    done.wait(PATIENCE_S)\n    not done.wait(0.3)\n"
        ),
    ),
    (
        style.check_wait_timeouts,
        Source("tests/unit/test_room.py", "def test_it() -> None:\n    subprocess.run(['true'], timeout=60)\n"),
        Source("tests/unit/test_room.py", "def test_it() -> None:\n    ', '.join(names)\n"),
    ),
    (
        style.check_wait_timeouts,
        Source("tests/unit/test_room.py", "HEALED_WITHIN_S = 20.0\n"),
        Source("tests/unit/test_room.py", "TTL_S = 20.0\n"),
    ),
    (
        style.check_no_duration_asserts,
        Source(
            "tests/unit/test_room.py",
            "def test_it() -> None:\n    began_at = time.monotonic()\n    assert time.monotonic() - began_at < 2\n",
        ),
        Source(
            "tests/unit/test_room.py",
            "def test_it() -> None:\n    began_at = time.monotonic()\n    assert time.monotonic() - began_at >= 2\n",
        ),
    ),
    (
        style.check_no_duration_asserts,
        Source(
            "tests/unit/test_room.py",
            "def test_it() -> None:\n    took_s = SystemClock().monotonic() - at\n    assert 9 >= took_s + 1\n",
        ),
        Source(
            "tests/unit/test_room.py",
            "def test_it() -> None:\n    took_s = server.clock.monotonic() - at\n    assert 9 >= took_s + 1\n",
        ),
    ),
    (
        style.check_no_duration_asserts,
        Source(
            "tests/unit/test_room.py",
            "def test_it() -> None:\n    ends_at = time.time() + 9\n    assert time.time() < ends_at\n",
        ),
        Source(
            "tests/unit/test_room.py",
            "def test_it() -> None:\n    before = time.time()\n    assert before + 9 <= room.until\n",
        ),
    ),
    (
        style.check_exit_codes,
        Source("src/greenroom/agent/wait.py", "NOTHING_YET = 75\n"),
        Source("src/greenroom/exit_codes.py", "NOTHING_YET = 75\n"),
    ),
    (
        style.check_local_paths_and_registries,
        Source("docs/start.md", "cd " + "/home" + "/ada/greenroom\n"),
        Source("docs/start.md", "cd /home/you/greenroom\n"),
    ),
    (
        style.check_local_paths_and_registries,
        Source("web/package-lock.json", '"resolved": "https://registry.npmjs' + '.org/vite"\n'),
        Source("web/package-lock.json", '"integrity": "sha512-"\n'),
    ),
)


@pytest.mark.parametrize(("check", "invalid", "_valid"), CASES)
def test_violation_is_reported(check: style.Check, invalid: Source, _valid: Source) -> None:
    violations = list(check(invalid))

    assert 1 == len(violations)
    assert violations[0].startswith(invalid.path)


@pytest.mark.parametrize(("check", "_invalid", "valid"), CASES)
def test_valid_source_is_accepted(check: style.Check, _invalid: Source, valid: Source) -> None:
    assert [] == list(check(valid))


def test_every_check_has_a_case() -> None:
    assert {*style.PYTHON_CHECKS, style.check_local_paths_and_registries} == {check for check, _, _ in CASES}


def test_repeated_class_name_is_reported() -> None:
    sources = [
        Source("src/greenroom/a.py", "class Seat: ...\n"),
        Source("tests/b.py", "class Seat: ...\nclass Row: ...\n"),
    ]

    assert ["Seat: src/greenroom/a.py, tests/b.py"] == vocabulary.repeated_class_names(sources)
