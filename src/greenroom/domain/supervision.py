"""The one policy of running and restarting: what is wished, runs and happened, to the next step. Must not do it.

A daemon sits in each role whose wish is `running` and runs the role's command once per task; `greenroom work` keeps
the same rules for itself. People write wishes; nobody but this policy starts anything, and a person's new wish is
always a fresh beginning.
"""

import msgspec

from greenroom.domain.reliability import Reliability

# What to do next about a role.
SIT = "sit"
STOP = "stop"
WAIT = "wait"
KEEP = "keep"

# Why a role that is wished to run is not run just now.
BACKING_OFF = "backing_off"
PARKED = "parked"
PAUSED = "paused"
YIELDED = "yielded"

DOUBLINGS_MAX = 30
REASON_CHARACTERS_MAX = 300
"""A reason is one line of a log, not what a command wrote before it died."""


class History(msgspec.Struct, frozen=True):
    """What happened to an agent under one generation of its wish. Instants are seconds of the clock that is given.

    `ends` are the unintended ends within the park window, `in_a_row` counts what doubles the pause, `rest` is why it
    rests or last rested, and `reason` tells people of it. A park or a pause without `rests_until` lasts until a person
    starts the agent anew. `owes_trial`: it was parked before something else gave it a rest, and that is not over.
    `last_end` is how whoever keeps the history calls the bad end that it counted last, so as to count it once.
    """

    generation: int = 0
    ends: tuple[float, ...] = ()
    in_a_row: int = 0
    last_end_at: float | None = None
    rest: str | None = None
    rests_until: float | None = None
    reason: str = ""
    owes_trial: bool = False
    last_end: str | None = None

    @property
    def is_parked(self) -> bool:
        """Tell whether what runs next, or runs now, is the one run on trial."""
        return self.rest == PARKED or self.owes_trial

    @property
    def needs_person(self) -> bool:
        """Tell whether it rests until a person starts it anew."""
        return self.rest in (PARKED, PAUSED) and self.rests_until is None


class Step(msgspec.Struct, frozen=True):
    """The next step for one role, with its reason. A wait without `until` is for a person, and its reason says so."""

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
    if history.needs_person:
        return Step(WAIT, f"{history.rest} until a person starts it again: {history.reason}")
    if history.rests_until is not None and now < history.rests_until:
        return Step(WAIT, why_it_rests(history), history.rests_until)
    return Step(SIT, "parked before, it gets one run on trial" if history.is_parked else "wished to run")


def why_it_rests(history: History) -> str:
    """Say for people why it rests, and what comes then."""
    if history.rest == PARKED:
        return f"parked, with one run on trial to come: {history.reason}"
    if history.rest == PAUSED:
        return f"paused: {history.reason}"
    if history.rest == YIELDED:
        return history.reason
    return f"backing off: {history.reason}"


def under(history: History, generation: int) -> History:
    """What of the history counts under that generation of the wish."""
    return history if history.generation == generation else History(generation=generation)


def ended(history: History, generation: int, now: float, fraction: float, limits: Reliability, reason: str) -> History:
    """Take down an unintended end: back off, park at too many of them, and wait for a person when a trial ends so.

    `fraction` in [0, 1) spreads the pause. Who waits for a person already goes on waiting, here and below.
    """
    history = under(history, generation)
    if history.needs_person:
        return history
    if history.is_parked:
        told = f"its run on trial ended too: {line_of(reason)}"
        return msgspec.structs.replace(history, last_end_at=now, rest=PARKED, rests_until=None, reason=told)
    ends = (*(at for at in history.ends if now - at < limits.park_window_s), now)
    in_a_row = row_at(history, now, limits) + 1
    counted = msgspec.structs.replace(history, ends=ends, in_a_row=in_a_row, last_end_at=now)
    if len(ends) >= limits.park_after_ends:
        told = f"{spell_ends(len(ends))} within {limits.park_window_s:g} s, the last: {line_of(reason)}"
        return msgspec.structs.replace(counted, rest=PARKED, rests_until=now + limits.park_pause_s, reason=told)
    told = f"{spell_ends(in_a_row)}{' in a row, the last' if in_a_row > 1 else ''}: {line_of(reason)}"
    until = now + pause_after(in_a_row, fraction, limits)
    return msgspec.structs.replace(counted, rest=BACKING_OFF, rests_until=until, reason=told)


def hindered(
    history: History, generation: int, now: float, fraction: float, limits: Reliability, reason: str
) -> History:
    """Take down that nothing could be run: no program, no harness, no room on the disk. That backs off, and is no end.

    However often it is so, it never parks: it comes right as soon as what is missing is there.
    """
    history = under(history, generation)
    if history.needs_person:
        return history
    in_a_row = row_at(history, now, limits) + 1
    return msgspec.structs.replace(
        history,
        in_a_row=in_a_row,
        last_end_at=now,
        rest=BACKING_OFF,
        rests_until=now + pause_after(in_a_row, fraction, limits),
        reason=f"nothing could be run: {line_of(reason)}",
        owes_trial=history.is_parked,
    )


def succeeded(history: History, generation: int) -> History:
    """Take down a run that did its task: the pauses begin anew, and a parked agent is parked no more.

    The window of ends stays: whoever dies at every other task is not healthy.
    """
    history = under(history, generation)
    if history.is_parked:
        return History(generation=generation)
    return History(generation=generation, ends=history.ends)


def paused(history: History, generation: int, now: float, until: float | None, reason: str) -> History:
    """Take down that the agent itself said it cannot go on until then, or (None) until a person has seen to it.

    That is no end. What was parked before stays so: its trial has not been decided.
    """
    history = under(history, generation)
    if history.needs_person:
        return history
    return msgspec.structs.replace(
        history,
        rest=PAUSED,
        rests_until=None if until is None else max(until, now),
        reason=line_of(reason),
        owes_trial=history.is_parked,
    )


def yielded(history: History, generation: int, now: float, limits: Reliability) -> History:
    """Take down that somebody else has the role. It is looked at again after an interval, and taken only when vacant:

    two that take a role from each other for ever help nobody.
    """
    history = under(history, generation)
    if history.needs_person:
        return history
    return msgspec.structs.replace(
        history,
        rest=YIELDED,
        rests_until=now + limits.daemon_heartbeat_interval_s,
        reason="somebody else has the role; it is taken again when it is vacant",
        owes_trial=history.is_parked,
    )


def row_at(history: History, now: float, limits: Reliability) -> int:
    """How many came in a row before now. Who was well for long enough since the last one starts to count anew."""
    is_well = history.last_end_at is None or now - history.last_end_at >= limits.restart_reset_s
    return 0 if is_well else history.in_a_row


def pause_after(in_a_row: int, fraction: float, limits: Reliability) -> float:
    """Seconds to back off: anywhere between the shortest pause and one that doubles up to the longest (full jitter)."""
    doubled = limits.restart_pause_s_min * 2.0 ** min(in_a_row, DOUBLINGS_MAX)
    ceiling = min(limits.restart_pause_s_max, doubled)
    return limits.restart_pause_s_min + (ceiling - limits.restart_pause_s_min) * fraction


def spell_ends(count: int) -> str:
    return "an unintended end" if count == 1 else f"{count} unintended ends"


def line_of(reason: str) -> str:
    """The first line of a reason, as much of it as a log can bear, and nothing that no file can hold."""
    line = next(iter(reason.strip().splitlines()), "no reason was given").encode(errors="replace").decode()
    return line if len(line) <= REASON_CHARACTERS_MAX else line[: REASON_CHARACTERS_MAX - 1] + "…"
