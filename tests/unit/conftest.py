"""Fixtures for the tests of an agent's commands: a TinyServer, and an environment without an agent's variables."""

import os
from collections.abc import Iterator

import pytest

from greenroom.process import process_group, process_tree
from tests.unit.agent_commands import DEFAULT_ANSWERS
from tests.unit.tiny_server import TinyServer, run_tiny_server
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def _long_kill_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a killed process group until it is gone and its shim has recorded how the command ended."""
    for module in (process_group, process_tree):
        monkeypatch.setattr(module, "KILL_S_MAX", PATIENCE_S)


@pytest.fixture
def no_agent_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of agents: the tests may themselves be run by an agent, with a cap or a task of its own."""
    for name in os.environ:
        if name.startswith(("CLAUDECODE", "CODEX_", "OPENCODE", "QWEN_CODE", "GEMINI_CLI", "GREENROOM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with run_tiny_server(dict(DEFAULT_ANSWERS)) as tiny_server:
        yield tiny_server
