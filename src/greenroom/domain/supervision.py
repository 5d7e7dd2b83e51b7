"""The restart policy: decides the next step for a role from the desired state, what runs, and what has happened.

A daemon joins each role whose agent spec says `running`, and runs the role's command once per task; `greenroom work`
follows the same rules for the one role that it works in. Users change agent specs; only this policy decides a start,
and a new generation of a spec always begins with an empty history. It decides; the caller acts.

Options: `restart_pause_s_min`, `restart_pause_s_max` and `restart_reset_s` for the backoff; `park_after_ends`,
`park_window_s` and `park_pause_s` for crash-looping.
"""

import msgspec

from greenroom.domain.reliability import Reliability

# The next step for a role.
SIT = "sit"
STOP = "stop"
WAIT = "wait"
KEEP = "keep"

# Why an agent that should run is not restarted yet.
BACKING_OFF = "backing_off"
PARKED = "parked"
PAUSED = "paused"
YIELDED = "yielded"

DOUBLINGS_MAX = 30
REASON_CHARACTERS_MAX = 300
"""A reason is one line of a log, not all that a command wrote before it failed."""


class History(msgspec.Struct, frozen=True):
    """What happened to an agent under one generation of its spec. Instants are seconds of the clock that is given.

    `ends` are the failures inside the crash-loop window, `in_a_row` counts the failures and failed starts that double
    the backoff, `rest` is why it is or was last held back from a restart, and `reason` explains that to users.
    Crash-looping or a pause without `rests_until` lasts until a user starts the agent again. `owes_trial`: it was
    crash-looping before another hold began, and still needs its probe run. `last_end` identifies the failure counted
    last, so that no caller counts it twice.
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
        """Return whether the next run, or the current one, is the probe run."""
        return self.rest == PARKED or self.owes_trial

    @property
    def needs_person(self) -> bool:
        """Return whether the agent is not restarted until a user starts it again."""
        return self.rest in (PARKED, PAUSED) and self.rests_until is None


class Step(msgspec.Struct, frozen=True):
    """The next step for one role, with its reason. A wait without `until` waits for a user, as its reason says."""

    action: str
    reason: str
    until: float | None = None


def decide(desired: bool, wished_generation: int, seated_generation: int | None, history: History, now: float) -> Step:
    """Decide the next step for a role.

    `seated_generation` is the generation under which the daemon holds the role, None if it does not. `now` and `until`
    are seconds of the same clock as the history's.
    """
    if seated_generation is not None:
        if not desired:
            return Step(STOP, "desired state is stopped")
        if seated_generation != wished_generation:
            return Step(STOP, "the agent spec changed")
        return Step(KEEP, "runs as desired")
    if not desired:
        return Step(KEEP, "desired state is stopped")
    history = under(history, wished_generation)
    if history.needs_person:
        return Step(WAIT, f"{history.rest} until a user starts it again: {history.reason}")
    if history.rests_until is not None and now < history.rests_until:
        return Step(WAIT, why_it_rests(history), history.rests_until)
    return Step(SIT, "crash-looping; this is the probe run" if history.is_parked else "desired state is running")


def why_it_rests(history: History) -> str:
    """Return why the agent is not restarted yet, for users, and what comes next."""
    if history.rest == PARKED:
        return f"crash-looping, one probe run follows: {history.reason}"
    if history.rest == PAUSED:
        return f"paused: {history.reason}"
    if history.rest == YIELDED:
        return history.reason
    return f"backing off: {history.reason}"


def under(history: History, generation: int) -> History:
    """Return the history if it is of that generation of the spec, else an empty one."""
    return history if history.generation == generation else History(generation=generation)


def ended(history: History, generation: int, now: float, fraction: float, limits: Reliability, reason: str) -> History:
    """Record a failure: back off; after too many, crash-loop; when a probe run fails, wait for a user.

    `fraction` in [0, 1) spreads the backoff. A history that waits for a user already does not change, here and below.
    """
    history = under(history, generation)
    if history.needs_person:
        return history
    if history.is_parked:
        summary = f"its probe run failed too: {line_of(reason)}"
        return msgspec.structs.replace(history, last_end_at=now, rest=PARKED, rests_until=None, reason=summary)
    ends = (*(at for at in history.ends if now - at < limits.park_window_s), now)
    in_a_row = row_at(history, now, limits) + 1
    counted = msgspec.structs.replace(history, ends=ends, in_a_row=in_a_row, last_end_at=now)
    if len(ends) >= limits.park_after_ends:
        summary = f"{spell_ends(len(ends))} within {limits.park_window_s:g} s, the last: {line_of(reason)}"
        return msgspec.structs.replace(counted, rest=PARKED, rests_until=now + limits.park_pause_s, reason=summary)
    summary = f"{spell_ends(in_a_row)}{' in a row, the last' if in_a_row > 1 else ''}: {line_of(reason)}"
    until = now + pause_after(in_a_row, fraction, limits)
    return msgspec.structs.replace(counted, rest=BACKING_OFF, rests_until=until, reason=summary)


def hindered(
    history: History, generation: int, now: float, fraction: float, limits: Reliability, reason: str
) -> History:
    """Record that nothing could be run: no program, no harness, no space on the disk. It backs off, and is no failure.

    However often it happens, it never leads to crash-looping: the next try works as soon as what is missing is there.
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
        reason=f"could not start: {line_of(reason)}",
        owes_trial=history.is_parked,
    )


def succeeded(history: History, generation: int) -> History:
    """Record a run that completed its task: the backoff begins again, and a crash-looping agent has recovered.

    The failures in the window are kept: an agent that fails at every other task is not healthy.
    """
    history = under(history, generation)
    if history.is_parked:
        return History(generation=generation)
    return History(generation=generation, ends=history.ends)


def paused(history: History, generation: int, now: float, until: float | None, reason: str) -> History:
    """Record that the agent itself reported that it cannot go on until `until`, or (None) until a user has acted.

    That is not a failure. An agent that was crash-looping remains so: its probe run has shown nothing yet.
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
    """Record that another agent has the role.

    After an interval it is checked again, and joined only if it is vacant: two agents that keep taking a role from each
    other would do no work.
    """
    history = under(history, generation)
    if history.needs_person:
        return history
    return msgspec.structs.replace(
        history,
        rest=YIELDED,
        rests_until=now + limits.daemon_heartbeat_interval_s,
        reason="another agent has the role; this one joins again when the role is vacant",
        owes_trial=history.is_parked,
    )


def row_at(history: History, now: float, limits: Reliability) -> int:
    """Return how many failures and failed starts in a row count at `now`.

    None do if the last one was at least `restart_reset_s` ago.
    """
    is_well = history.last_end_at is None or now - history.last_end_at >= limits.restart_reset_s
    return 0 if is_well else history.in_a_row


def pause_after(in_a_row: int, fraction: float, limits: Reliability) -> float:
    """Return the seconds to back off, by exponential backoff with full jitter.

    They lie between the shortest pause and one that doubles with each failure in a row, up to the longest.
    """
    doubled = limits.restart_pause_s_min * 2.0 ** min(in_a_row, DOUBLINGS_MAX)
    ceiling = min(limits.restart_pause_s_max, doubled)
    return limits.restart_pause_s_min + (ceiling - limits.restart_pause_s_min) * fraction


def spell_ends(count: int) -> str:
    return "1 failure" if count == 1 else f"{count} failures"


def line_of(reason: str) -> str:
    """Return the first line of a reason, cut to what a log line can hold, without characters that no file can hold."""
    line = next(iter(reason.strip().splitlines()), "no reason was given").encode(errors="replace").decode()
    return line if len(line) <= REASON_CHARACTERS_MAX else line[: REASON_CHARACTERS_MAX - 1] + "…"
