"""What the next `wait-for-task` needs to carry a sitting on. Knows the files of sittings; must not know the server."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from greenroom.process.identity import Identity, identity_of, is_alive
from greenroom.settings.private_file import read_record, write_record

WAITING = "waiting"
PAUSED = "paused"
HANDED = "handed"
FINISHED = "finished"


class SittingFile(msgspec.Struct, frozen=True, kw_only=True):
    """One sitting of an agent on this computer: which process waits, or waited last, in it, and how that ended.

    `waiting`: it waits. `paused`: its time was over. `handed`: it printed a task, which is being worked on.
    `finished`: that task is over.
    """

    connection_id: str
    process: Identity
    state: str


def path_of(folder: Path, connection_id: str) -> Path:
    return folder / f"{connection_id}.json"


def note(folder: Path, connection_id: str, state: str) -> None:
    """Write down that this process is in that state."""
    process = identity_of(os.getpid())
    assert process is not None
    write_record(path_of(folder, connection_id), SittingFile(connection_id=connection_id, process=process, state=state))


def finish(folder: Path, connection_id: str) -> None:
    """Write down that the task of that sitting is over, if this computer knows it."""
    path = path_of(folder, connection_id)
    known = read_record(path, SittingFile)
    if known is not None:
        write_record(path, msgspec.structs.replace(known, state=FINISHED))


def remove(folder: Path, connection_id: str) -> None:
    with contextlib.suppress(OSError):
        path_of(folder, connection_id).unlink()


def deserted(folder: Path, is_running: Callable[[Identity], bool] = is_alive) -> list[str]:
    """The sittings whose process ended while it waited, without a word to anybody."""
    known = [read_record(path, SittingFile) for path in folder.glob("*.json")]
    return [each.connection_id for each in known if each and each.state == WAITING and not is_running(each.process)]


def take_up(folder: Path, before: float, is_running: Callable[[Identity], bool] = is_alive) -> str | None:
    """Take over a sitting that paused or finished, the newest first; None when there is none.

    Taking is removing the file, so of two processes only one gets it. Files from before that wall-clock second are of
    no use to anybody and are removed.
    """
    for path in sorted(folder.glob("*.json"), key=_changed_at, reverse=True):
        known = read_record(path, SittingFile)
        if known is None or is_running(known.process):
            continue
        if known.state in (PAUSED, FINISHED) and _changed_at(path) >= before:
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            return known.connection_id
        if _changed_at(path) < before:
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
