"""The restart policy: decides the next step for a role from the desired state, what runs, and what has happened.

A daemon joins each role whose agent spec says `running`, and runs the role's command once per task; `greenroom work`
follows the same rules for the one role that it works in. Users change agent specs; only this policy decides a start,
and a new generation of a spec always begins with an empty history. It decides; the caller acts.

Options: `restart_backoff_s_min`, `restart_backoff_s_max` and `restart_reset_s` for the backoff;
`crash_loop_after_failures`, `crash_loop_window_s` and `crash_loop_probe_after_s` for crash-looping.
"""

import msgspec

from greenroom.domain import role as roles
from greenroom.domain.limits import Limits

# The next step for a role. `finish`: stop once the run at work has ended.
JOIN = "join"
STOP = "stop"
FINISH = "finish"
WAIT = "wait"
KEEP = "keep"

# Why an agent that should run is not restarted yet. `yielded`: the role was taken over, and is joined once vacant.
BACKING_OFF = roles.BACKING_OFF
CRASH_LOOPING = roles.CRASH_LOOPING
PAUSED = roles.PAUSED
YIELDED = "yielded"

DOUBLINGS_MAX = 30
REASON_CHARACTERS_MAX = 300
"""A reason is one line of a log, not all that a command wrote before it failed."""


class RestartHistory(msgspec.Struct, frozen=True):
    """What happened to an agent under one generation of its spec. Instants are seconds of the clock that is given.

    `failures` are those inside the crash-loop window, `consecutive` counts the failures and failed starts that double
    the backoff, `hold` is why it is or was last held back from a restart, and `reason` explains that to users.
    Crash-looping or a pause without `hold_until` lasts until a user starts the agent again. `owes_probe_run`: it was
    crash-looping before another hold began, and still needs its probe run. `last_failure_id` is that of the failure
    counted last, so that no caller counts it twice.
    """

    generation: int = 0
    failures: tuple[float, ...] = ()
    consecutive: int = 0
    last_failure_at: float | None = None
    hold: str | None = None
    hold_until: float | None = None
    reason: str = ""
    owes_probe_run: bool = False
    last_failure_id: str | None = None

    @property
    def is_probe_run(self) -> bool:
        """Return whether the next run, or the current one, is the probe run."""
        return self.hold == CRASH_LOOPING or self.owes_probe_run

    @property
    def needs_user(self) -> bool:
        """Return whether the agent is not restarted until a user starts it again."""
        return self.hold in (CRASH_LOOPING, PAUSED) and self.hold_until is None


class RestartStep(msgspec.Struct, frozen=True):
    """The next step for one role, with its reason. A wait without `until` waits for a user, as its reason says."""

    action: str
    reason: str
    until: float | None = None


def decide_step(
    desired: bool,
    desired_generation: int,
    held_generation: int | None,
    history: RestartHistory,
    now: float,
    run_generation: int | None = None,
) -> RestartStep:
    """Decide the next step for a role.

    `held_generation` is the generation under which the daemon holds the role, None if it does not. A run of
    `run_generation` or a later one is finished before the desired generation applies; None: no run is. `now` and
    `until` are seconds of the same clock as the history's.
    """
    if held_generation is not None:
        if not desired:
            return RestartStep(STOP, "desired state is stopped")
        if run_generation is not None and run_generation <= held_generation < desired_generation:
            return RestartStep(FINISH, "the agent spec changed, for the next run")
        if held_generation != desired_generation:
            return RestartStep(STOP, "the agent spec changed")
        return RestartStep(KEEP, "runs as desired")
    if not desired:
        return RestartStep(KEEP, "desired state is stopped")
    history = history_of_generation(history, desired_generation)
    if history.needs_user:
        words = roles.HOLD_WORDS[history.hold or PAUSED]
        return RestartStep(WAIT, f"{words} until a user starts it again: {history.reason}")
    if history.hold_until is not None and now < history.hold_until:
        return RestartStep(WAIT, hold_reason(history), history.hold_until)
    return RestartStep(
        JOIN, "crash-looping; this is the probe run" if history.is_probe_run else "desired state is running"
    )


def hold_reason(history: RestartHistory) -> str:
    """Return why the agent is not restarted yet, for users, and what comes next."""
    if history.hold == CRASH_LOOPING:
        return f"crash-looping, one probe run follows: {history.reason}"
    if history.hold == PAUSED:
        return f"paused: {history.reason}"
    if history.hold == YIELDED:
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
        return msgspec.structs.replace(
            history, last_failure_at=now, hold=CRASH_LOOPING, hold_until=None, reason=summary
        )
    ends = (*(at for at in history.failures if now - at < limits.crash_loop_window_s), now)
    consecutive = count_consecutive(history, now, limits) + 1
    counted = msgspec.structs.replace(history, failures=ends, consecutive=consecutive, last_failure_at=now)
    if len(ends) >= limits.crash_loop_after_failures:
        summary = (
            f"{format_failures(len(ends))} within {limits.crash_loop_window_s:g} s, the last: {first_line(reason)}"
        )
        return msgspec.structs.replace(
            counted, hold=CRASH_LOOPING, hold_until=now + limits.crash_loop_probe_after_s, reason=summary
        )
    summary = f"{format_failures(consecutive)}{' in a row, the last' if consecutive > 1 else ''}: {first_line(reason)}"
    until = now + backoff_s(consecutive, fraction, limits)
    return msgspec.structs.replace(counted, hold=BACKING_OFF, hold_until=until, reason=summary)


def record_failed_start(
    history: RestartHistory, generation: int, now: float, fraction: float, limits: Limits, reason: str
) -> RestartHistory:
    """Record that nothing could be run: no program, no harness, no space on the disk. It backs off, and is no failure.

    However often it happens, it never leads to crash-looping: the next try works as soon as what is missing is there.
    """
    history = history_of_generation(history, generation)
    if history.needs_user:
        return history
    consecutive = count_consecutive(history, now, limits) + 1
    return msgspec.structs.replace(
        history,
        consecutive=consecutive,
        last_failure_at=now,
        hold=BACKING_OFF,
        hold_until=now + backoff_s(consecutive, fraction, limits),
        reason=f"could not start: {first_line(reason)}",
        owes_probe_run=history.is_probe_run,
    )


def record_success(history: RestartHistory, generation: int) -> RestartHistory:
    """Record a run that completed its task: the backoff begins again, and a crash-looping agent has recovered.

    The failures in the window are kept: an agent that fails at every other task is not healthy.
    """
    history = history_of_generation(history, generation)
    if history.is_probe_run:
        return RestartHistory(generation=generation)
    return RestartHistory(generation=generation, failures=history.failures)


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
        hold=PAUSED,
        hold_until=None if until is None else max(until, now),
        reason=first_line(reason),
        owes_probe_run=history.is_probe_run,
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
        hold=YIELDED,
        hold_until=now + limits.daemon_heartbeat_interval_s,
        reason="another agent has the role; this one joins again when the role is vacant",
        owes_probe_run=history.is_probe_run,
    )


def count_consecutive(history: RestartHistory, now: float, limits: Limits) -> int:
    """Return how many failures and failed starts in a row count at `now`.

    None do if the last one was at least `restart_reset_s` ago.
    """
    is_well = history.last_failure_at is None or now - history.last_failure_at >= limits.restart_reset_s
    return 0 if is_well else history.consecutive


def backoff_s(consecutive: int, fraction: float, limits: Limits) -> float:
    """Return the seconds to back off, by exponential backoff with full jitter.

    They lie between the shortest pause and one that doubles with each failure in a row, up to the longest.
    """
    doubled = limits.restart_backoff_s_min * 2.0 ** min(consecutive, DOUBLINGS_MAX)
    ceiling = min(limits.restart_backoff_s_max, doubled)
    return limits.restart_backoff_s_min + (ceiling - limits.restart_backoff_s_min) * fraction


def format_failures(count: int) -> str:
    return "1 failure" if count == 1 else f"{count} failures"


def first_line(reason: str) -> str:
    """Return the first line of a reason, cut to what a log line can hold, without characters that no file can hold."""
    line = next(iter(reason.strip().splitlines()), "no reason was given").encode(errors="replace").decode()
    return line if len(line) <= REASON_CHARACTERS_MAX else line[: REASON_CHARACTERS_MAX - 1] + "…"
