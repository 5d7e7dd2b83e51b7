"""The restart policy: decides the next step for a role from the desired state, what runs, and what has happened.

A daemon joins each role whose agent spec says `running`, and runs the role's command once per task; `greenroom work`
follows the same rules for the one role that it works in. Users change agent specs; only this policy decides a start,
and a new generation of a spec always begins with an empty history. It decides; the caller acts.

Options: `restart_pause_s_min`, `restart_pause_s_max` and `restart_reset_s` for the backoff; `park_after_ends`,
`park_window_s` and `park_pause_s` for crash-looping.
"""

import msgspec

from greenroom.domain.limits import Limits

# The next step for a role.
JOIN = "sit"
STOP = "stop"
WAIT = "wait"
KEEP = "keep"

# Why an agent that should run is not restarted yet.
BACKING_OFF = "backing_off"
CRASH_LOOPING = "parked"
PAUSED = "paused"
YIELDED = "yielded"

DOUBLINGS_MAX = 30
REASON_CHARACTERS_MAX = 300
"""A reason is one line of a log, not all that a command wrote before it failed."""


class RestartHistory(msgspec.Struct, frozen=True):
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
    def is_probe_run(self) -> bool:
        """Return whether the next run, or the current one, is the probe run."""
        return self.rest == CRASH_LOOPING or self.owes_trial

    @property
    def needs_user(self) -> bool:
        """Return whether the agent is not restarted until a user starts it again."""
        return self.rest in (CRASH_LOOPING, PAUSED) and self.rests_until is None


class RestartStep(msgspec.Struct, frozen=True):
    """The next step for one role, with its reason. A wait without `until` waits for a user, as its reason says."""

    action: str
    reason: str
    until: float | None = None


def decide_step(
    desired: bool, desired_generation: int, held_generation: int | None, history: RestartHistory, now: float
) -> RestartStep:
    """Decide the next step for a role.

    `held_generation` is the generation under which the daemon holds the role, None if it does not. `now` and `until`
    are seconds of the same clock as the history's.
    """
    if held_generation is not None:
        if not desired:
            return RestartStep(STOP, "desired state is stopped")
        if held_generation != desired_generation:
            return RestartStep(STOP, "the agent spec changed")
        return RestartStep(KEEP, "runs as desired")
    if not desired:
        return RestartStep(KEEP, "desired state is stopped")
    history = history_of_generation(history, desired_generation)
    if history.needs_user:
        return RestartStep(WAIT, f"{history.rest} until a user starts it again: {history.reason}")
    if history.rests_until is not None and now < history.rests_until:
        return RestartStep(WAIT, hold_reason(history), history.rests_until)
    return RestartStep(
        JOIN, "crash-looping; this is the probe run" if history.is_probe_run else "desired state is running"
    )


def hold_reason(history: RestartHistory) -> str:
    """Return why the agent is not restarted yet, for users, and what comes next."""
    if history.rest == CRASH_LOOPING:
        return f"crash-looping, one probe run follows: {history.reason}"
    if history.rest == PAUSED:
        return f"paused: {history.reason}"
    if history.rest == YIELDED:
        return history.reason
    return f"backing off: {history.reason}"


def history_of_generation(history: RestartHistory, generation: int) -> RestartHistory:
    """Return the history if it is of that generation of the spec, else an empty one."""
    return history if history.generation == generation else RestartHistory(generation=generation)


def record_failure(
    history: RestartHistory, generation: int, now: float, fraction: float, limits: Limits, reason: str
) -> RestartHistory:
    """Record a failure: back off; after too many, crash-loop; when a probe run fails, wait for a user.

    `fraction` in [0, 1) spreads the backoff. A history that waits for a user already does not change, here and below.
    """
    history = history_of_generation(history, generation)
    if history.needs_user:
        return history
    if history.is_probe_run:
        summary = f"its probe run failed too: {first_line(reason)}"
        return msgspec.structs.replace(history, last_end_at=now, rest=CRASH_LOOPING, rests_until=None, reason=summary)
    ends = (*(at for at in history.ends if now - at < limits.park_window_s), now)
    in_a_row = count_consecutive(history, now, limits) + 1
    counted = msgspec.structs.replace(history, ends=ends, in_a_row=in_a_row, last_end_at=now)
    if len(ends) >= limits.park_after_ends:
        summary = f"{format_failures(len(ends))} within {limits.park_window_s:g} s, the last: {first_line(reason)}"
        return msgspec.structs.replace(
            counted, rest=CRASH_LOOPING, rests_until=now + limits.park_pause_s, reason=summary
        )
    summary = f"{format_failures(in_a_row)}{' in a row, the last' if in_a_row > 1 else ''}: {first_line(reason)}"
    until = now + backoff_s(in_a_row, fraction, limits)
    return msgspec.structs.replace(counted, rest=BACKING_OFF, rests_until=until, reason=summary)


def record_failed_start(
    history: RestartHistory, generation: int, now: float, fraction: float, limits: Limits, reason: str
) -> RestartHistory:
    """Record that nothing could be run: no program, no harness, no space on the disk. It backs off, and is no failure.

    However often it happens, it never leads to crash-looping: the next try works as soon as what is missing is there.
    """
    history = history_of_generation(history, generation)
    if history.needs_user:
        return history
    in_a_row = count_consecutive(history, now, limits) + 1
    return msgspec.structs.replace(
        history,
        in_a_row=in_a_row,
        last_end_at=now,
        rest=BACKING_OFF,
        rests_until=now + backoff_s(in_a_row, fraction, limits),
        reason=f"could not start: {first_line(reason)}",
        owes_trial=history.is_probe_run,
    )


def record_success(history: RestartHistory, generation: int) -> RestartHistory:
    """Record a run that completed its task: the backoff begins again, and a crash-looping agent has recovered.

    The failures in the window are kept: an agent that fails at every other task is not healthy.
    """
    history = history_of_generation(history, generation)
    if history.is_probe_run:
        return RestartHistory(generation=generation)
    return RestartHistory(generation=generation, ends=history.ends)


def record_pause(
    history: RestartHistory, generation: int, now: float, until: float | None, reason: str
) -> RestartHistory:
    """Record that the agent itself reported that it cannot go on until `until`, or (None) until a user has acted.

    That is not a failure. An agent that was crash-looping remains so: its probe run has shown nothing yet.
    """
    history = history_of_generation(history, generation)
    if history.needs_user:
        return history
    return msgspec.structs.replace(
        history,
        rest=PAUSED,
        rests_until=None if until is None else max(until, now),
        reason=first_line(reason),
        owes_trial=history.is_probe_run,
    )


def record_yield(history: RestartHistory, generation: int, now: float, limits: Limits) -> RestartHistory:
    """Record that another agent has the role.

    After an interval it is checked again, and joined only if it is vacant: two agents that keep taking a role from each
    other would do no work.
    """
    history = history_of_generation(history, generation)
    if history.needs_user:
        return history
    return msgspec.structs.replace(
        history,
        rest=YIELDED,
        rests_until=now + limits.daemon_heartbeat_interval_s,
        reason="another agent has the role; this one joins again when the role is vacant",
        owes_trial=history.is_probe_run,
    )


def count_consecutive(history: RestartHistory, now: float, limits: Limits) -> int:
    """Return how many failures and failed starts in a row count at `now`.

    None do if the last one was at least `restart_reset_s` ago.
    """
    is_well = history.last_end_at is None or now - history.last_end_at >= limits.restart_reset_s
    return 0 if is_well else history.in_a_row


def backoff_s(in_a_row: int, fraction: float, limits: Limits) -> float:
    """Return the seconds to back off, by exponential backoff with full jitter.

    They lie between the shortest pause and one that doubles with each failure in a row, up to the longest.
    """
    doubled = limits.restart_pause_s_min * 2.0 ** min(in_a_row, DOUBLINGS_MAX)
    ceiling = min(limits.restart_pause_s_max, doubled)
    return limits.restart_pause_s_min + (ceiling - limits.restart_pause_s_min) * fraction


def format_failures(count: int) -> str:
    return "1 failure" if count == 1 else f"{count} failures"


def first_line(reason: str) -> str:
    """Return the first line of a reason, cut to what a log line can hold, without characters that no file can hold."""
    line = next(iter(reason.strip().splitlines()), "no reason was given").encode(errors="replace").decode()
    return line if len(line) <= REASON_CHARACTERS_MAX else line[: REASON_CHARACTERS_MAX - 1] + "…"
