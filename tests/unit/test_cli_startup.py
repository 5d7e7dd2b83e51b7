"""Which modules a command loads: an agent's command must load nothing that only servers and tables need."""

import subprocess
import sys

import pytest

from greenroom.cli import standard_streams
from greenroom.cli.main import adapt_streams
from greenroom.cli.verbs import AGENTS, VERBS, Verb

HEAVY = (
    "asyncio",
    "prometheus_client",
    "psutil",
    "rich",
    "shtab",
    "sqlalchemy",
    "ssl",
    "structlog",
    "uvicorn",
)
LOAD = """
import sys
from greenroom.cli.main import import_function
from greenroom.cli.parser import parse
verb, _ = parse(sys.argv[1:])
import_function(verb)
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_modules(*argv: str) -> set[str]:
    """The top-level names of the modules that are loaded when a command's function is about to be called."""
    completed = subprocess.run([sys.executable, "-c", LOAD, *argv], check=True, capture_output=True, encoding="utf-8")
    return set(completed.stdout.split())


@pytest.mark.parametrize(
    "argv",
    [
        ("wait-for-task", "shop", "--role", "builder"),
        ("task-started",),
        ("report-progress", "half"),
        ("task-complete", "done"),
        ("handoff", "--to", "user", "done"),
        ("decline", "no"),
    ],
    ids=lambda argv: argv[0],
)
def test_agent_commands_load_nothing_heavy(argv: tuple[str, ...]) -> None:
    loaded = loaded_modules(*argv)

    assert "greenroom" in loaded
    assert set() == loaded & set(HEAVY)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_only_programs_without_data_write_in_the_background(verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("write_in_background", "limit_note_wait"):
        monkeypatch.setattr(standard_streams, name, lambda name=name: calls.append(name))
    adapt_streams(verb)
    is_program = verb.name in ("up", "server", "daemon start")
    assert calls == (["write_in_background"] if is_program else ["limit_note_wait"] if verb in AGENTS else [])


@pytest.mark.parametrize("argv", [("status",), ("messages", "shop"), ("task", "list", "shop"), ("watch",)])
def test_rich_is_not_loaded_at_start(argv: tuple[str, ...]) -> None:
    assert "rich" not in loaded_modules(*argv)
