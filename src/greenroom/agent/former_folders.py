"""Moves the files of agents from folders that an earlier version named by an address with its user and password."""

from contextlib import suppress
from pathlib import Path

from greenroom.private_files import make_private_folder
from greenroom.settings import paths
from greenroom.settings.files import rename_former
from greenroom.settings.resolve import Settings


def move_former_folders(settings: Settings) -> None:
    """Give claim and connection files of this server their present folders. What cannot be moved stays."""
    if settings.former_folder is None:
        return
    with suppress(OSError):
        rename_former(settings.data_dir / paths.FORMER_CONNECTIONS, paths.all_connections(settings.data_dir))
    present = paths.server_folder_name(settings.url)
    for top in (paths.all_claims(settings.data_dir), paths.all_connections(settings.data_dir)):
        with suppress(OSError):
            move_files(top / settings.former_folder, top / present)


def move_files(former: Path, present: Path) -> None:
    """Move all files that are not in the present folder yet, and remove the former folder. Raises OSError."""
    folders = [former] if former.is_dir() else []
    for path in sorted(former.rglob("*")):
        target = present / path.relative_to(former)
        if path.is_dir():
            folders.append(path)
        elif target.exists():
            path.unlink()
        else:
            make_private_folder(target.parent)
            path.rename(target)
    for folder in reversed(folders):
        folder.rmdir()
