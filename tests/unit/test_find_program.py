import os
from pathlib import Path

import pytest

from greenroom.domain.errors import ConfigurationError
from greenroom.process.command import check_program
from greenroom.process.spawn import start_shim


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


@pytest.mark.parametrize("name", ["no-such-tool", "note", "tool/bin", ""])
def test_missing_program_is_rejected(folder: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no program"):
        check_program([name], folder, {"PATH": f"{folder}"})


def add_file(folder: Path, text: str, mode: int = 0o755) -> None:
    (folder / "bin" / "agent").write_text(text, newline="")
    (folder / "bin" / "agent").chmod(mode)


FAULTS = {
    "not executable": ("#!/bin/sh\n", 0o644, "not executable (mode 0644)", "chmod +x"),
    "windows": ("#!/bin/sh\r\nexit 0\r\n", 0o755, r"'#!/bin/sh\r' ends with a carriage return", "sed -i"),
    "windows, with an option": ("#!/bin/sh -e\r\n", 0o755, "ends with a carriage return", "sed -i"),
    "no interpreter": ("#!/no/such/interpreter -x\n", 0o755, "no program '/no/such/interpreter'", "Install"),
    "interpreter is a folder": ("#!/usr\n", 0o755, "/usr is a folder", "first line"),
    "interpreter is not executable": ("#!/etc/passwd\n", 0o755, "/etc/passwd is there, but", "first line"),
    "nothing for env": ("#!/usr/bin/env no-such-tool\n", 0o755, "no program 'no-such-tool' in PATH", "Install"),
    "two words for env": ("#!/usr/bin/env sh -e\n", 0o755, "no program 'sh -e' in PATH", "Install"),
}


@pytest.mark.parametrize("name", ["agent", "bin/agent"])
@pytest.mark.parametrize("fault", FAULTS)
def test_program_that_cannot_be_run_says_why(folder: Path, fault: str, name: str) -> None:
    """Each of these can be found, and no system runs it: the start itself would name a missing file, or none."""
    text, mode, detail, guidance = FAULTS[fault]
    add_file(folder, text, mode)
    with pytest.raises(ConfigurationError) as caught:
        check_program([name], folder, {"PATH": f"{folder}/bin:{os.defpath}"})
    assert (True, True) == (detail in caught.value.detail, guidance in caught.value.guidance), str(caught.value)
    assert str(folder / "bin" / "agent") in caught.value.detail


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\n", "#! /bin/sh -e\n", "#!/usr/bin/env sh\n", "#!/usr/bin/env -S sh -e\n", "#!/bin/sh"]
)
def test_script_with_interpreter_is_accepted(folder: Path, text: str) -> None:
    add_file(folder, text)
    check_program(["agent"], folder, {"PATH": f"{folder}/bin:{os.defpath}"})


def test_script_that_names_itself_ends_the_search(folder: Path) -> None:
    add_file(folder, f"#!{folder}/bin/agent\n")
    check_program(["agent"], folder, {"PATH": f"{folder}/bin"})


def test_folder_and_lost_link_are_no_programs(folder: Path) -> None:
    (folder / "lost").symlink_to(folder / "nowhere")
    for name, detail in (("./bin", "is a folder, not a program"), ("./lost", f"a link to {folder / 'nowhere'}")):
        with pytest.raises(ConfigurationError) as caught:
            check_program([name], folder, {})
        assert detail in caught.value.detail


def test_later_program_in_path_is_used(folder: Path) -> None:
    """As a shell does: what cannot be run is passed over."""
    add_file(folder, "", 0o644)
    (folder / "other").mkdir()
    (folder / "other" / "agent").symlink_to(folder / "bin" / "tool")
    check_program(["agent"], folder, {"PATH": f"{folder}/bin:{folder}/other"})


def test_file_that_is_neither_binary_nor_script(folder: Path) -> None:
    add_file(folder, "exit 0\n")
    with pytest.raises(ConfigurationError, match="neither a binary for this system nor a script that begins with #!"):
        start_shim(
            [str(folder / "bin" / "agent")],
            folder,
            {},
            b"",
            folder / "run",
            {},
            1_000,
            1.0,
            False,
            may_begin=lambda: True,
        )
