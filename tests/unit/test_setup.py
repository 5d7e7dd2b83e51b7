"""`tools/setup.py` in a checkout of its own, with an installer that only records its calls."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.process

PROGRAM = Path(__file__).parents[2] / "tools" / "setup.py"
INSTALLER = """#!/bin/sh
echo "begin $*" >> calls
case "$*" in
  --version) ;;
  venv*) mkdir -p .venv/bin && ln -sf '{python}' .venv/bin/python ;;
  *'{fails}'*) echo 'no such package'; exit 9 ;;
  *) until [ -e go ]; do sleep 0.02; done ;;
esac
echo "end $*" >> calls
"""


class Checkout:
    """A folder with a project in it, and the setup processes that run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[str]] = []
        for name in ("tools", "src", ".tools/bin"):
            (folder / name).mkdir(parents=True)
        shutil.copy(PROGRAM, folder / "tools")
        for name in ("pyproject.toml", "requirements.lock"):
            (folder / name).write_text(name)
        self.install_installer()
        self.open_gate()

    def install_installer(self, fails: str = "nothing") -> None:
        installer = self.folder / ".tools" / "bin" / "uv"
        installer.write_text(INSTALLER.format(python=sys.executable, fails=fails))
        installer.chmod(0o755)

    def open_gate(self, is_open: bool = True) -> None:
        """Let installations complete, or block them."""
        gate = self.folder / "go"
        gate.touch() if is_open else gate.unlink()

    def start(self, kind: str) -> tuple[subprocess.Popen[str], Path]:
        """Start a setup process; also the file with its standard error."""
        output = self.folder / f"said-{len(self._running)}"
        command = [sys.executable, "tools/setup.py", kind]  # a `pip` that a test writes into the folder is found first
        with output.open("w") as file:
            self._running.append(subprocess.Popen(command, cwd=self.folder, stderr=file, text=True))
        return self._running[-1], output

    def run(self, kind: str) -> tuple[int, str]:
        process, output = self.start(kind)
        return process.wait(PATIENCE_S), output.read_text()

    def calls(self) -> list[str]:
        """The installer's calls since the last call of this function, without those of `--version`."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [" ".join(line.split()[:3]) for line in lines if "--version" not in line]

    def close(self) -> None:
        self.open_gate()
        for process in self._running:
            process.wait(PATIENCE_S)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    created = Checkout(tmp_path)
    yield created
    created.close()


VENV = ["begin venv --quiet", "end venv --quiet"]
PIP = ["begin pip install", "end pip install"]


def test_concurrent_setups_take_turns(checkout: Checkout) -> None:
    checkout.open_gate(False)
    first, _ = checkout.start("run")
    wait_until((checkout.folder / ".venv" / "bin").exists, "the first setup is running")
    second, output = checkout.start("run")
    wait_until(lambda: "waiting for it" in output.read_text(), "the second setup waits")
    checkout.open_gate()

    assert [0, 0] == [process.wait(PATIENCE_S) for process in (first, second)]
    assert [*VENV, *PIP, *PIP] == checkout.calls()
    assert "ready" not in output.read_text(), "nothing was left to install"


def test_existing_parts_are_kept_and_missing_added(checkout: Checkout) -> None:
    assert 0 == checkout.run("run")[0]
    assert [*VENV, *PIP, *PIP] == checkout.calls()
    assert (0, "") == checkout.run("run")
    assert [] == checkout.calls()

    code, output = checkout.run("dev")
    assert (0, True) == (code, "installing the tools for tests and checks" in output)
    assert PIP == checkout.calls(), "neither .venv nor Greenroom is installed again: running processes use them"
    for kind in ("dev", "run"):
        assert (0, "") == checkout.run(kind)
    assert [] == checkout.calls()


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_changed_lock_recreates_environment(checkout: Checkout, name: str) -> None:
    checkout.run("dev")
    checkout.calls()
    (checkout.folder / name).write_text("another version")
    checkout.run("run")
    assert [*VENV, *PIP, *PIP] == checkout.calls()


def test_moved_checkout_gets_own_environment(checkout: Checkout, tmp_path: Path) -> None:
    checkout.run("run")
    checkout.calls()
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    shutil.copytree(tmp_path, moved, symlinks=True)
    subprocess.run([sys.executable, "tools/setup.py", "run"], cwd=moved, check=True, stderr=subprocess.DEVNULL)
    assert "begin venv" in (moved / "calls").read_text()


def test_failed_step_is_resumed(checkout: Checkout) -> None:
    checkout.install_installer(fails="--group dev")
    code, output = checkout.run("dev")
    assert 1 == code
    assert "no such package" in output
    assert "installing the tools for tests and checks failed" in output
    checkout.install_installer()
    assert 0 == checkout.run("dev")[0]


def test_failed_dev_tools_keep_runtime(checkout: Checkout) -> None:
    checkout.run("run")
    checkout.install_installer(fails="--group dev")
    assert 1 == checkout.run("dev")[0]
    checkout.calls()
    assert (0, "") == checkout.run("run")
    assert [] == checkout.calls()


def test_installer_alone_ignores_lock(checkout: Checkout) -> None:
    (checkout.folder / "requirements.lock").write_text("of another project")
    assert (0, "") == checkout.run("uv")
    assert [] == checkout.calls()


def test_setup_waits_for_installer_of_killed_one(checkout: Checkout) -> None:
    checkout.open_gate(False)
    first, _ = checkout.start("run")
    wait_until((checkout.folder / ".venv" / "bin").exists, "the first setup is running")
    wait_until(lambda: "begin pip" in (checkout.folder / "calls").read_text(), "its installer is running")
    first.kill()
    second, output = checkout.start("run")
    wait_until(lambda: "waiting for it" in output.read_text(), "the second setup waits")
    checkout.open_gate()
    assert 0 == second.wait(PATIENCE_S)
    calls = checkout.calls()
    assert calls.index("end pip install") < calls.index("begin venv --quiet", 1)


def test_foreign_installer_is_fetched_again(checkout: Checkout) -> None:
    (checkout.folder / ".tools" / "bin" / "uv").write_bytes(b"\x7fELF")
    pip = checkout.folder / "pip"
    pip.mkdir()
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text("import sys; sys.exit('no network' if 'install' in sys.argv else 0)")
    code, output = checkout.run("run")
    assert 1 == code
    assert "no network" in output
    assert "fetching the installer failed" in output


def test_usage_error(checkout: Checkout) -> None:
    assert (2, "usage: python3 tools/setup.py run|dev|uv\n") == checkout.run("everything")
