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


def records_in(folder: Path, shape: type[Record]) -> Iterator[tuple[Path, Record]]:
    """Everything in there, by name. What makes no sense is put aside; what cannot be read just now stays as it is.

    A file may be gone before it is read: another thread has no more need of it.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            record = msgspec.json.decode(path.read_bytes(), type=shape)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.error("%s cannot be read, and waits for the next start: %s", path, error)
        except msgspec.MsgspecError as error:
            put_aside(path, error)
        else:
            yield path, record


def put_aside(path: Path, why: Exception) -> None:
    """Keep a file that makes no sense for a person to look at, and out of the way."""
    log.error("%s makes no sense and is put aside: %s", path, why)
    with suppress(OSError):
        path.replace(path.with_suffix(".unreadable"))


def sweep(folder: Path) -> None:
    """Take away what an earlier daemon was writing when it was killed."""
    for draft in folder.glob(".*.json.*"):
        if draft.suffix != f".{os.getpid()}":
            with suppress(OSError):
                draft.unlink()
