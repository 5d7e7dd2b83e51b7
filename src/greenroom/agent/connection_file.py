"""Stores what the next `greenroom wait-for-task` needs to continue a participant."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from greenroom.process.agent_session import AgentSession, is_same_session
from greenroom.process.identity import ProcessIdentity, identity_of, is_alive
from greenroom.settings import paths
from greenroom.settings.files import read_record, rename_former, write_record

WAITING = "waiting"
PAUSED = "paused"
TASK_PRINTED = "handed"
FINISHED = "finished"


class ConnectionFile(msgspec.Struct, frozen=True, kw_only=True):
    """One participant of an agent on this computer: which process waits, or waited last, for it, and how that ended.

    `waiting`: the process waits. `paused`: its time was over. `handed`: it printed a task, which is being worked on.
    `finished`: that task is over. `session` is the agent session in which the process ran, None if it is not known.
    """

    connection_id: str
    process: ProcessIdentity
    state: str
    session: AgentSession | None = None


def folder_of(data_dir: Path, url: str, room: str, role: str) -> Path:
    """The folder of a role's connection files. The first call after an upgrade gives the files their present place."""
    with contextlib.suppress(OSError):  # without them a new participant is made
        rename_former(data_dir / paths.FORMER_CONNECTIONS, paths.all_connections(data_dir))
    return paths.connections(data_dir, url, room, role)


def path_of(folder: Path, connection_id: str) -> Path:
    return folder / f"{connection_id}.json"


def record_state(folder: Path, connection_id: str, state: str, session: AgentSession | None) -> None:
    """Record that this process, in that agent session, is in that state."""
    process = identity_of(os.getpid())
    assert process is not None
    record = ConnectionFile(connection_id=connection_id, process=process, state=state, session=session)
    write_record(path_of(folder, connection_id), record)


def record_finish(folder: Path, connection_id: str) -> None:
    """Record that the task of that participant is over, if this computer has its file."""
    path = path_of(folder, connection_id)
    known = read_record(path, ConnectionFile)
    if known is not None:
        write_record(path, msgspec.structs.replace(known, state=FINISHED))


def remove(folder: Path, connection_id: str) -> None:
    with contextlib.suppress(OSError):
        path_of(folder, connection_id).unlink()


def find_deserted(folder: Path, is_running: Callable[[ProcessIdentity], bool] = is_alive) -> list[str]:
    """Return the participants whose process ended while it waited, without leaving."""
    known = [read_record(path, ConnectionFile) for path in folder.glob("*.json")]
    return [each.connection_id for each in known if each and each.state == WAITING and not is_running(each.process)]


def find_holder(
    folder: Path, session: AgentSession | None, is_running: Callable[[ProcessIdentity], bool] = is_alive
) -> str | None:
    """Return the participant under which that session was given a task, the newest first; None if there is none."""
    for path in sorted(folder.glob("*.json"), key=_changed_at, reverse=True):
        known = read_record(path, ConnectionFile)
        if known is None or known.state != TASK_PRINTED or is_running(known.process):
            continue
        if is_same_session(known.session, session, is_running):
            return known.connection_id
    return None


def take_reusable(folder: Path, before: float, is_running: Callable[[ProcessIdentity], bool] = is_alive) -> str | None:
    """Return a participant that paused or finished, the newest first, and remove its file; None if there is none.

    Of two processes only one can remove the file, and so continue the participant. Files from before that wall-clock
    second are useless and are removed.
    """
    for path in sorted(folder.glob("*.json"), key=_changed_at, reverse=True):
        known = read_record(path, ConnectionFile)
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
