"""Knows sittings and what fences them: who may sit, come back, beat and leave. Must not know the other nouns.

A sitting is one agent's time in a role. Sittings of a role are ordered by `epoch`. Only the newest may be present or
come back; the moment a newer one is made, every older one is closed for ever, and so is one that left.
"""

import msgspec

PRESENT = "present"
ABSENT = "absent"
CLOSED = "closed"

# Verdicts: what a beat, a join or a leave is answered.
OK = "ok"
REJOIN_REQUIRED = "rejoin_required"
SUPERSEDED = "superseded"
DRAIN = "drain"
VERDICTS = frozenset({OK, REJOIN_REQUIRED, SUPERSEDED, DRAIN})

# What its lease is for: it is beaten for, a task was handed to it by a command that ended, or it works without beating.
BEAT = "beat"
HANDED = "handed"
WORK = "work"

# What a join does.
SIT_NEW = "sit_new"
SIT_AGAIN = "sit_again"
STAY = "stay"
REFUSE = "refuse"


class Sitting(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's time in a role: `present` now, `absent` for the moment, or `closed` for ever."""

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


def decide_join(known: Sitting | None, newest_epoch: int) -> str:
    """Decide what a join does, given the sitting of that connection (if any) and the role's newest epoch."""
    if known is None:
        return SIT_NEW
    if known.status == CLOSED or known.epoch < newest_epoch:
        return REFUSE
    return STAY if known.status == PRESENT else SIT_AGAIN


def judge(known: Sitting | None, newest_epoch: int) -> str:
    """Judge a call of a connection that wants to act in the role: ok, rejoin_required or superseded."""
    if known is None:
        return REJOIN_REQUIRED
    if known.status == CLOSED or known.epoch < newest_epoch:
        return SUPERSEDED
    return OK if known.status == PRESENT else REJOIN_REQUIRED
