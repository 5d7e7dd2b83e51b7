"""Fixtures for the tests of an agent's commands: a TinyServer, and an environment without an agent's variables."""

import os
from collections.abc import Iterator

import pytest

from greenroom.process import group, members
from tests.unit.calling import ANSWERS
from tests.unit.tiny_server import TinyServer, serving
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def _kills_patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a killed process group until it is gone and its shim has recorded how the command ended."""
    for module in (group, members):
        monkeypatch.setattr(module, "KILL_S_MAX", PATIENCE_S)


@pytest.fixture
def no_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of agents: the tests may themselves be run by an agent, with a cap or a task of its own."""
    for name in os.environ:
        if name.startswith(("CLAUDECODE", "CODEX_", "OPENCODE", "QWEN_CODE", "GEMINI_CLI", "GREENROOM_")):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serving(dict(ANSWERS)) as tiny:
        yield tiny
