"""Small files in a folder of the daemon's own, one for each thing. Must not know what is in them."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

log = logging.getLogger("greenroom.daemon.records")

Record = TypeVar("Record", bound=msgspec.Struct)


def read_all(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record | OSError | msgspec.MsgspecError]]:
    """Everything in there, by name, or why it cannot be read. Whoever only looks changes nothing by it.

    A file may be gone before it is read: another thread has no more need of it.
    """
    for path in sorted(folder.glob("*.json")):
        found: Record | OSError | msgspec.MsgspecError
        try:
            found = msgspec.json.decode(path.read_bytes(), type=shape)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.MsgspecError) as error:
            found = error
        yield path, found


def records_in(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record]]:
    """Everything in there, by name. What makes no sense is put aside; what cannot be read just now stays as it is."""
    for path, found in read_all(folder, shape):
        if isinstance(found, OSError):
            log.error("%s cannot be read, and waits for the next start: %s", path, found)
        elif isinstance(found, msgspec.MsgspecError):
            put_aside(path, found)
        else:
            yield path, found


def put_aside(path: Path, why: Exception) -> None:
    """Keep a file that tells nothing for a person to look at, and out of the way."""
    log.error("%s tells nothing and is put aside: %s", path, why)
    try:
        path.replace(path.with_suffix(".unreadable"))
    except OSError as error:
        log.error("%s stays where it is: %s", path, error)


def forget(path: Path) -> None:
    """Take away a file that has become superfluous. Told of a second time, what is in it changes nothing."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s stays, and is told of once more at the next start, which changes nothing: %s", path, error)


def sweep(folder: Path) -> None:
    """Take away what an earlier daemon was writing when it was killed."""
    for draft in folder.glob(".*.json.*"):
        if draft.suffix != f".{os.getpid()}":
            with suppress(OSError):
                draft.unlink()
