"""Defines participants and their fences: which one may join, rejoin, beat and leave.

A participant is one agent's membership in a role. The participants of a role are ordered by `epoch`. Only the newest
may be present or rejoin: when a newer one joins, every older one is closed for good. One that left is closed as well.
"""

import msgspec

PRESENT = "present"
ABSENT = "absent"
CLOSED = "closed"

# Verdicts: the answers to a beat, a join or a leave.
OK = "ok"
REJOIN_REQUIRED = "rejoin_required"
SUPERSEDED = "superseded"
DRAIN = "drain"
VERDICTS = frozenset({OK, REJOIN_REQUIRED, SUPERSEDED, DRAIN})

# Kinds of lease: renewed by beats; after a detached claim, until the first call; working without beats.
BEAT = "beat"
DETACHED = "detached"
WORK = "work"

# What a join does.
JOIN_NEW = "join_new"
REJOIN = "rejoin"
ALREADY_PRESENT = "stay"
REJECT = "refuse"


class Participant(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's membership in a role: `present` now, `absent` for the moment, or `closed` for good."""

    room: str
    role: str
    connection_id: str
    epoch: int
    status: str
    lease: str = BEAT
    machine: str | None
    joined_at: str
    ended_at: str | None = None
    end_cause: str | None = None


def decide_join(known: Participant | None, newest_epoch: int) -> str:
    """Decide what a join does, given the connection's participant, if any, and the role's newest epoch."""
    if known is None:
        return JOIN_NEW
    if known.status == CLOSED or known.epoch < newest_epoch:
        return REJECT
    return ALREADY_PRESENT if known.status == PRESENT else REJOIN


def judge_call(known: Participant | None, newest_epoch: int) -> str:
    """Judge any other call of a connection in the role: ok, rejoin_required or superseded."""
    if known is None:
        return REJOIN_REQUIRED
    if known.status == CLOSED or known.epoch < newest_epoch:
        return SUPERSEDED
    return OK if known.status == PRESENT else REJOIN_REQUIRED
