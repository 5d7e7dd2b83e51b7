"""What an agent's later commands must know of the task it holds. Knows the files of claims; must not know the server.

One file for each attempt at each task: an older agent of the same role can never pick up what a newer one was given.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from greenroom.domain.errors import Unusable
from greenroom.domain.ids import is_name
from greenroom.settings import paths
from greenroom.settings.private_file import read_record, write_record

NO_CLAIM = "no_claim"

OPEN = "open"
FINISHED = "finished"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one task, and what is needed to speak for it. `room` is spelled as the agent spelled it.

    `finished`: its result was handed in, and only the same command once more may still be meant. `notes_seen` of the
    task's notes were shown to the agent.
    """

    url: str
    room: str
    role: str
    task: str
    attempt: int
    connection_id: str
    token: str
    state: str = OPEN
    notes_seen: int = 0

    @property
    def is_open(self) -> bool:
        return self.state == OPEN


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a command said about the task it means."""

    task: str | None = None
    attempt: int | None = None
    room: str | None = None
    role: str | None = None


def path_of(data_dir: Path, claim: Claim) -> Path:
    # The server chose the id; a name that is no name must not lead out of the folder.
    if not is_name(claim.task):
        raise Unusable(f"The server named a task {claim.task!r}.", "Check that GREENROOM_URL names a Greenroom server.")
    return paths.claim(data_dir, claim.url, claim.room, claim.role, claim.task, claim.attempt)


def write(data_dir: Path, claim: Claim) -> Path:
    path = path_of(data_dir, claim)
    write_record(path, claim)
    return path


def finish(data_dir: Path, claim: Claim) -> None:
    """Write down that the result was handed in; a file that cannot be changed must not pass for an open one."""
    try:
        write(data_dir, msgspec.structs.replace(claim, state=FINISHED))
    except OSError:
        remove(data_dir, claim)


def remove(data_dir: Path, claim: Claim) -> None:
    """Take the file away: the task is over, or was given back."""
    with contextlib.suppress(OSError):
        path_of(data_dir, claim).unlink()


def forget_old(data_dir: Path, url: str, room: str, role: str, before: float) -> None:
    """Remove the role's files from before that wall-clock second: their tokens have run out, the tasks are others'."""
    for path in paths.claims(data_dir, url, room, role).glob("*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


def all_claims(data_dir: Path, url: str) -> list[Claim]:
    """Every claim of this computer's agents on that server, the finished ones too."""
    top = paths.claims(data_dir, url, "*", "*")
    found = sorted(data_dir.glob(str((top / "*.json").relative_to(data_dir))))
    return [claim for path in found if (claim := read_record(path, Claim)) is not None]


def choose(data_dir: Path, url: str, wanted: Wanted, environ: Mapping[str, str]) -> Claim:
    """The claim that a command means: by its flags, else by its environment, else the only open one there is.

    A finished one is meant only by who names its task, and only where no open one fits. Raises Unusable (`no_claim`),
    listing the open ones, when that is none or more than one.
    """
    told = told_by(environ, url)
    if told is not None and wanted.task in (None, told.task) and wanted.attempt in (None, told.attempt):
        return told
    task = wanted.task or (environ.get("GREENROOM_TASK") if wanted.attempt is None else None)
    known = all_claims(data_dir, url)
    fitting = [
        claim
        for claim in known
        if task in (None, claim.task)
        and wanted.attempt in (None, claim.attempt)
        # A task that is named needs no role beside it, which the environment may have from another place.
        and (task is not None or is_of_role(claim, wanted, environ))
    ]
    meant = [claim for claim in fitting if claim.is_open] or (fitting if task is not None else [])
    if len(meant) == 1:
        return meant[0]
    raise unclear(meant, [claim for claim in known if claim.is_open], data_dir)


def is_of_role(claim: Claim, wanted: Wanted, environ: Mapping[str, str]) -> bool:
    """Tell whether a claim is of the role that is meant, which is in the room that is meant."""
    room = wanted.room or environ.get("GREENROOM_ROOM")
    role = wanted.role or environ.get("GREENROOM_ROLE")
    return role in (None, claim.role) and (room in (None, claim.room) or kept_as(claim, environ))


def kept_as(claim: Claim, environ: Mapping[str, str]) -> bool:
    """Tell whether it was got in the sitting in which a daemon keeps this process, however its room is spelled."""
    return claim.connection_id == environ.get("GREENROOM_CONNECTION")


def told_by(environ: Mapping[str, str], url: str) -> Claim | None:
    """The claim of a process that was run for one task: its environment holds all of it."""
    names = ("TASK", "ATTEMPT", "CONNECTION", "TOKEN")
    task, attempt, connection_id, token = (environ.get(f"GREENROOM_{name}", "") for name in names)
    if not (task and attempt.isascii() and attempt.isdigit() and connection_id and token):
        return None
    return Claim(
        url=url,
        room=environ.get("GREENROOM_ROOM", ""),
        role=environ.get("GREENROOM_ROLE", ""),
        task=task,
        attempt=int(attempt),
        connection_id=connection_id,
        token=token,
    )


def unclear(meant: list[Claim], everything: list[Claim], data_dir: Path) -> Unusable:
    """The error for a command that could mean no claim, or several."""
    shown = meant or everything
    listing = "".join(f"\n  --task {c.task} --attempt {c.attempt}   ({c.role} in {c.room})" for c in shown)
    if meant:
        return Unusable(
            f"{len(meant)} tasks are held here:{listing}", "Name yours with --task and --attempt.", NO_CLAIM
        )
    if everything:
        return Unusable(
            f"That task is not held here any more; it is over, or was given away. Held are:{listing}",
            "Name yours with --task and --attempt, as they were printed with it.",
            NO_CLAIM,
        )
    return Unusable(
        f"No task is held here (looked in {data_dir / 'claims'}).",
        "Get one first: greenroom wait-for-task ROOM --role ROLE. If you have one, use the same --data-dir and --url.",
        NO_CLAIM,
    )
