"""How an errand ends, in a word and for people. Must not know what follows from it."""

import msgspec

from greenroom.client import result
from greenroom.client.result import Result
from greenroom.clock import instant_of, seconds_of
from greenroom.domain.reliability import Reliability
from greenroom.process.group import Exit

DONE = "done"
DID_ITSELF = "did_itself"
FAILED = "failed"
GONE = "gone"
STOPPED = "stopped"
PAUSED = "paused"
NOT_BEGUN = "not_begun"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended, in a word and for people. `is_kept`: the files of the run hold more than was sent.

    `until` is when one that paused may go on, as ISO; None where a person has to do something first.
    """

    kind: str
    detail: str
    exit: Exit | None = None
    is_kept: bool = False
    until: str | None = None


def pause_of(said: Result | None, ended: Exit | None, now: float, limits: Reliability) -> Outcome | None:
    """The pause that a command itself asked for at its end; None where that was an end like any other.

    A limit that does not say until when is tried again after a while, and so is one that should be over by now: else it
    would be met again and again without a pause.
    """
    if said is None or said.status not in (result.RATE_LIMITED, result.LOGIN_REQUIRED):
        return None
    until = said.until
    if said.status == result.RATE_LIMITED and (until is None or seconds_of(until) <= now):
        until = instant_of(now + limits.restart_pause_s_max)
    what = "Its login is needed" if said.status == result.LOGIN_REQUIRED else f"It is rate-limited until {until}"
    return Outcome(kind=PAUSED, detail=f"{what}: {said.reason}".rstrip(": "), exit=ended, until=until)
