"""Defines how a run of a task ends."""

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
    """How a run ended: `kind` for programs, `detail` for users.

    `is_kept`: the files of the run hold more than was sent. `until` is when a paused one may continue, as ISO 8601;
    None if a user has to act first.
    """

    kind: str
    detail: str
    exit: Exit | None = None
    is_kept: bool = False
    until: str | None = None


def pause_of(own_result: Result | None, ended: Exit | None, now: float, limits: Reliability) -> Outcome | None:
    """Return the pause that a command itself asked for at its end; None if it asked for none.

    A rate limit without a time, or with one that is past, ends after `restart_pause_s_max`: otherwise the agent would
    meet it again and again without a pause.
    """
    if own_result is None or own_result.status not in (result.RATE_LIMITED, result.LOGIN_REQUIRED):
        return None
    until = own_result.until
    if own_result.status == result.RATE_LIMITED and (until is None or seconds_of(until) <= now):
        until = instant_of(now + limits.restart_pause_s_max)
    cause = "A login is needed" if own_result.status == result.LOGIN_REQUIRED else f"It is rate-limited until {until}"
    return Outcome(kind=PAUSED, detail=f"{cause}: {own_result.reason}".rstrip(": "), exit=ended, until=until)
