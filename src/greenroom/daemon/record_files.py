"""Reads and removes the daemon's record files: one small JSON file for each record, in a folder."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from greenroom.daemon.record_conversion import decode_record

log = logging.getLogger("greenroom.daemon.record_files")

Record = TypeVar("Record", bound=msgspec.Struct)


def read_each(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record | OSError | msgspec.MsgspecError]]:
    """All records of a folder, by name, each with the error if it cannot be read. Changes no file.

    A file that another thread removes meanwhile is left out.
    """
    for path in sorted(folder.glob("*.json")):
        found: Record | OSError | msgspec.MsgspecError
        try:
            found = decode_record(path.read_bytes(), shape)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.MsgspecError) as error:
            found = error
        yield path, found


def read_valid(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record]]:
    """All records of a folder, by name. Invalid files are set aside; files that cannot be read now stay."""
    for path, found in read_each(folder, shape):
        if isinstance(found, OSError):
            log.error("record not read: %s: %s; the next start of the daemon tries again", path, found)
        elif isinstance(found, msgspec.MsgspecError):
            set_aside(path, found)
        else:
            yield path, found


def set_aside(path: Path, why: Exception) -> None:
    """Rename an invalid file to `.unreadable`, so that a user can look at it and the daemon ignores it."""
    log.error("invalid record set aside: %s: %s", path, why)
    try:
        path.replace(path.with_suffix(".unreadable"))
    except OSError as error:
        log.error("record not set aside: %s: %s", path, error)


def remove_record(path: Path) -> None:
    """Remove the file of a record that is not needed any more. If that fails, reporting it again changes nothing."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("record not removed: %s: %s; the next start reports it again, which changes nothing", path, error)


def remove_drafts(folder: Path) -> None:
    """Remove the unfinished files of an earlier daemon that was killed while it wrote."""
    for draft in folder.glob(".*.json.*"):
        if draft.suffix != f".{os.getpid()}":
            with suppress(OSError):
                draft.unlink()
