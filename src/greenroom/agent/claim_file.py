"""Stores what an agent's later commands need to act for the task that it holds.

There is one file for each attempt at each task, so that an older agent of a role never uses the claim of a newer one.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from greenroom.domain.errors import Unusable
from greenroom.domain.ids import is_name
from greenroom.process.agent_session import AgentSession, find_session, is_same_session
from greenroom.settings import paths
from greenroom.settings.files import read_record, write_record

NO_CLAIM = "no_claim"

OPEN = "open"
FINISHED = "finished"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one task, and what is needed to act for it. `room` is written as the agent wrote it.

    `finished`: its result was handed in; only a repetition of the same command may still use it. `notes_seen` is how
    many of the task's notes were shown to the agent. `session` is the agent session that got the task, None if it is
    not known.
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
    session: AgentSession | None = None

    @property
    def is_open(self) -> bool:
        return self.state == OPEN


class ClaimQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a command's flags say about the task it is for."""

    task: str | None = None
    attempt: int | None = None
    room: str | None = None
    role: str | None = None


def path_of(data_dir: Path, claim: Claim) -> Path:
    # The id comes from the server; an invalid one must not lead out of the folder.
    if not is_name(claim.task):
        raise Unusable(
            f"The server sent an invalid task id: {claim.task!r}.",
            "Check that GREENROOM_URL names a Greenroom server.",
        )
    return paths.claim(data_dir, claim.url, claim.room, claim.role, claim.task, claim.attempt)


def write(data_dir: Path, claim: Claim) -> Path:
    path = path_of(data_dir, claim)
    write_record(path, claim)
    return path


def finish(data_dir: Path, claim: Claim) -> None:
    """Record that the result was handed in. A file that cannot be changed is removed, as it would look open."""
    try:
        write(data_dir, msgspec.structs.replace(claim, state=FINISHED))
    except OSError:
        remove(data_dir, claim)


def remove(data_dir: Path, claim: Claim) -> None:
    """Remove the file: the task is over, or was released."""
    with contextlib.suppress(OSError):
        path_of(data_dir, claim).unlink()


def remove_expired(data_dir: Path, url: str, room: str, role: str, before: float) -> None:
    """Remove the role's files from before that wall-clock second: their tokens have expired."""
    for path in paths.claims(data_dir, url, room, role).glob("*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


def all_claims(data_dir: Path, url: str) -> list[Claim]:
    """Return every claim of this computer's agents on that server, the finished ones included."""
    top = paths.claims(data_dir, url, "*", "*")
    found = sorted(data_dir.glob(str((top / "*.json").relative_to(data_dir))))
    claims = [claim for path in found if (claim := read_record(path, Claim)) is not None]
    return [msgspec.structs.replace(claim, url=url) for claim in claims]  # a former one may have a password in it


def resolve_claim(data_dir: Path, url: str, wanted: ClaimQuery, environ: Mapping[str, str]) -> Claim:
    """Return the claim that a command is for: by its flags, else by its environment, else the only open one.

    Of several open ones, that of the agent session in which the command runs is returned. A finished one is returned
    only for a command that names its task, and only if no open one matches. Raises Unusable (`no_claim`), with a list
    of the open ones, if no claim or more than one matches.
    """
    own = claim_of_environment(environ, url)
    if own is not None and wanted.task in (None, own.task) and wanted.attempt in (None, own.attempt):
        return own
    task = wanted.task or (environ.get("GREENROOM_TASK") if wanted.attempt is None else None)
    claims = all_claims(data_dir, url)
    matching = [
        claim
        for claim in claims
        if task in (None, claim.task)
        and wanted.attempt in (None, claim.attempt)
        # A named task needs no role: the environment may have one for another purpose.
        and (task is not None or matches_role(claim, wanted, environ))
    ]
    candidates = [claim for claim in matching if claim.is_open] or (matching if task is not None else [])
    if len(candidates) > 1:
        session = find_session(environ)
        candidates = [each for each in candidates if is_same_session(each.session, session)] or candidates
    if len(candidates) == 1:
        return candidates[0]
    raise no_claim_error(candidates, [claim for claim in claims if claim.is_open], data_dir)


def matches_role(claim: Claim, wanted: ClaimQuery, environ: Mapping[str, str]) -> bool:
    """Return whether a claim is of the wanted role, in the wanted room."""
    room = wanted.room or environ.get("GREENROOM_ROOM")
    role = wanted.role or environ.get("GREENROOM_ROLE")
    return role in (None, claim.role) and (room in (None, claim.room) or is_kept_by_daemon(claim, environ))


def is_kept_by_daemon(claim: Claim, environ: Mapping[str, str]) -> bool:
    """Return whether the claim is of the participant that a daemon keeps for this process, in any form of the room."""
    return claim.connection_id == environ.get("GREENROOM_CONNECTION")


def claim_of_environment(environ: Mapping[str, str], url: str) -> Claim | None:
    """Return the claim of a process that was run for one task: its environment holds all of it. Else None."""
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


def no_claim_error(candidates: list[Claim], open_claims: list[Claim], data_dir: Path) -> Unusable:
    """Return the error for a command that matches no claim, or several."""
    shown = candidates or open_claims
    listing = "".join(f"\n  --task {c.task} --attempt {c.attempt}   ({c.role} in {c.room})" for c in shown)
    if candidates:
        return Unusable(
            f"{len(candidates)} tasks are held on this computer:{listing}",
            "Run the command again with the --task and --attempt of yours.",
            NO_CLAIM,
        )
    if open_claims:
        return Unusable(
            f"That task is no longer held on this computer: it is over, or another attempt has it. Held are:{listing}",
            "Run the command again with --task and --attempt as they were printed with your task.",
            NO_CLAIM,
        )
    return Unusable(
        f"No task is held on this computer (looked in {data_dir / 'claims'}).",
        "If you hold one, use the --data-dir and --url with which you got it. Otherwise get one: "
        "greenroom wait-for-task ROOM --role ROLE",
        NO_CLAIM,
    )
