"""The daemon's one policy of running and restarting: wished state and what runs, to the next step. Must not do it.

A daemon sits in each role whose wish is `running` and runs the role's command once per task. People write wishes;
nobody but this policy starts anything.
"""

import msgspec

from greenroom.domain.reliability import Reliability

SIT = "sit"
STOP = "stop"
WAIT = "wait"
KEEP = "keep"


class History(msgspec.Struct, frozen=True):
    """What happened to an agent under one generation of its wish: unintended ends in a row, when the last one was,
    until when it rests, and whether it yielded its role to somebody who took it over.

    A new wish is a new beginning: whoever writes it has seen what happened, or does not want to wait for it.
    """

    generation: int = 0
    ends: int = 0
    last_end_at: float | None = None
    rests_until: float | None = None
    has_yielded: bool = False


class Step(msgspec.Struct, frozen=True):
    """The next step for one role, with its reason; `until` only for a wait."""

    action: str
    reason: str
    until: float | None = None


def decide(desired: bool, wished_generation: int, seated_generation: int | None, history: History, now: float) -> Step:
    """Decide what to do about a role: `seated_generation` is the wish under which the daemon sits there, if it does.

    `now` and `until` are seconds of the same clock as the history's.
    """
    if seated_generation is not None:
        if not desired:
            return Step(STOP, "stopped by wish")
        if seated_generation != wished_generation:
            return Step(STOP, "the wish changed")
        return Step(KEEP, "as wished")
    if not desired:
        return Step(KEEP, "nothing is wished")
    history = under(history, wished_generation)
    if history.rests_until is not None and now < history.rests_until:
        if history.has_yielded:
            return Step(WAIT, "somebody else has the role; it is taken again when it is vacant", history.rests_until)
        ends = "an unintended end" if history.ends == 1 else f"{history.ends} unintended ends in a row"
        return Step(WAIT, f"resting after {ends}", history.rests_until)
    return Step(SIT, "wished to run")


def under(history: History, generation: int) -> History:
    """What of the history counts under that generation of the wish."""
    return history if history.generation == generation else History(generation=generation)


def ended(history: History, generation: int, now: float, fraction: float, limits: Reliability) -> History:
    """Take down an unintended end: back off with full jitter (`fraction` in [0, 1)), doubling up to the longest pause.

    An agent that was healthy for long enough since its last end starts to count anew.
    """
    history = under(history, generation)
    healthy = history.last_end_at is None or now - history.last_end_at >= limits.restart_reset_s
    ends = 1 if healthy else history.ends + 1
    ceiling = min(limits.restart_pause_s_max, limits.restart_pause_s_min * 2.0 ** min(ends, 30))
    pause = limits.restart_pause_s_min + (ceiling - limits.restart_pause_s_min) * fraction
    return History(generation=generation, ends=ends, last_end_at=now, rests_until=now + pause)


def succeeded(generation: int) -> History:
    """Take down a run that did its task: the next unintended end is the first again."""
    return History(generation=generation)


def yielded(generation: int, now: float, limits: Reliability) -> History:
    """Take down that somebody else has the role. It is looked at again after an interval, and taken only when vacant:

    two that take a role from each other for ever help nobody.
    """
    return History(generation=generation, has_yielded=True, rests_until=now + limits.daemon_heartbeat_interval_s)
