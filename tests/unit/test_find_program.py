import os
from pathlib import Path

import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.process.command import check_program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, mode in (("tool", 0o755), ("note", 0o644)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    return tmp_path


@pytest.mark.parametrize("name", ["tool", "bin/tool", "./bin/tool", "{folder}/bin/tool"])
@pytest.mark.parametrize("path", ["{folder}/bin", "/nowhere{sep}bin"])
def test_program_is_found_as_at_run(folder: Path, name: str, path: str) -> None:
    values = {"folder": folder, "sep": os.pathsep}
    check_program([name.format(**values)], folder, {"PATH": path.format(**values)})


@pytest.mark.parametrize("name", ["no-such-tool", "note", "bin/note", "bin", "tool/bin", ""])
def test_missing_program_is_rejected(folder: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no program"):
        check_program([name], folder, {"PATH": f"{folder}/bin"})
