"""Files and folders for their owner alone, under any umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenroom.private_files import (
    close_to_others,
    find_open_to_others,
    make_private_folder,
    open_private,
    write_private_bytes,
)
from greenroom.settings.files import write_text


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277], ids=oct)
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> str:
    return f"{stat.S_IMODE(path.lstat().st_mode):04o}"


@pytest.mark.usefixtures("mask")
def test_new_folders_and_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    make_private_folder(folder)
    write_private_bytes(folder / "bytes", b"1")
    write_text(folder / "d" / "text", "1")
    with open(folder / "appended", "a", opener=open_private) as file:
        file.write("1")
    assert {"0700"} == {mode_of(path) for path in (tmp_path / "a", tmp_path / "a" / "b", folder, folder / "d")}
    assert {"0600"} == {mode_of(folder / name) for name in ("bytes", "d/text", "appended")}


def test_existing_file_is_closed_and_existing_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    for name in ("bytes", "text"):
        (tmp_path / "shared" / name).touch()
        (tmp_path / "shared" / name).chmod(0o666)
    make_private_folder(tmp_path / "shared")
    write_private_bytes(tmp_path / "shared" / "bytes", b"1")
    write_text(tmp_path / "shared" / "text", "1")
    assert ["0755", "0600", "0600"] == [mode_of(tmp_path / "shared" / name) for name in ("", "bytes", "text")]


def test_links_are_neither_found_nor_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "data"
    for path in (outside, folder):
        path.mkdir()
        path.chmod(0o755)
    (outside / "file").touch()
    (outside / "file").chmod(0o644)
    (folder / "link").symlink_to(outside)
    found = list(find_open_to_others(folder))
    assert [folder] == found
    for path in found:
        close_to_others(path)
    assert ["0700", "0755", "0644"] == [mode_of(path) for path in (folder, outside, outside / "file")]


def test_depth_limits_the_search_to_folders(tmp_path: Path) -> None:
    (tmp_path / "work" / "room" / "role" / "src").mkdir(parents=True)
    (tmp_path / "work" / "file").touch()
    for path in (tmp_path / "work", *(tmp_path / "work").rglob("*")):
        path.chmod(0o755)
    found = [path.name for path in find_open_to_others(tmp_path / "work", 2)]
    assert ["work", "room", "role"] == found
