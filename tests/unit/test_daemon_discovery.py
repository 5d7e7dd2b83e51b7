"""What a machine reports about itself: the harnesses it can run now, and installed agent CLIs that have no harness."""

import logging
import platform
from pathlib import Path

import pytest

from greenroom.daemon.harness import HarnessPolicy
from greenroom.daemon.machine_identity import MachineIdentity
from greenroom.daemon.server_link import MachineRegistration
from greenroom.process.agent_clis import SNIPPETS, find_agent_clis
from greenroom.process.command import check_program
from greenroom.settings.harness import Harness
from greenroom.settings.resolve import resolve_settings

MACHINE = MachineIdentity(id="m-1", name="m")


def install_programs(folder: Path, *names: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder), "HOME": str(folder)}


def test_installed_clis_are_found_in_path(tmp_path: Path) -> None:
    environ = install_programs(tmp_path / "bin", "claude", "codex", "vim")
    (tmp_path / "bin" / "qwen").write_text("no program")
    assert [("claude", tmp_path / "bin" / "claude"), ("codex", tmp_path / "bin" / "codex")] == [
        (found.name, found.path) for found in find_agent_clis(environ)
    ]
    assert [] == find_agent_clis({"PATH": "/nowhere"})


def test_relative_path_entries_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_programs(tmp_path / "bin", "claude")
    monkeypatch.chdir(tmp_path)
    assert [] == find_agent_clis({"PATH": "bin:."})


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet_makes_cli_a_harness(tmp_path: Path, name: str) -> None:
    environ = install_programs(tmp_path, name)
    config = tmp_path / ".config" / "greenroom" / "config.toml"
    config.parent.mkdir(parents=True)
    assert {} == resolve_settings({}, environ, None).harnesses(), "an installed CLI is no harness by itself"
    config.write_text(SNIPPETS[name])
    harness = resolve_settings({}, environ, None).harnesses()[name]
    check_program(harness.command, Path("/"), environ)


def test_machine_offers_runnable_harnesses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    environ = install_programs(tmp_path, "claude", "codex", "opencode")
    harnesses = {
        "mine": Harness(command=("codex", "exec")),
        "wrapped": Harness(command=("env", "A=b", str(tmp_path / "opencode"))),
        "gone": Harness(command=("codexx",)),
    }
    install_programs(tmp_path, "env")
    policy = HarnessPolicy(harnesses, (), tmp_path / "work")
    build_registration = MachineRegistration(MACHINE, policy, {"gpu": "two", "os": "mine"}, environ)
    with caplog.at_level(logging.WARNING):
        registration = build_registration()
    assert ["mine", "wrapped"] == registration.harnesses
    assert ("two", "claude") == (registration.labels["gpu"], registration.labels["found"])
    assert platform.system().lower() == registration.labels["os"], "this label is set by the machine itself"
    assert ["harness not offered: gone: There is no program 'codexx'"] == [
        record.getMessage().partition(" in PATH")[0] for record in caplog.records
    ]
    (tmp_path / "claude").unlink()
    (tmp_path / "codex").unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        second = build_registration()
    assert (["wrapped"], False) == (second.harnesses, "found" in second.labels)
    assert ["mine:"] == [record.getMessage().split()[3] for record in caplog.records], "a harness is logged once"
