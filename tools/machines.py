"""Generates the docs' diagrams and tables of state machines by running the rules of the domain.

The task's state machine is a table in `domain.task`; the others are functions, which are called for every case.
"""

from itertools import product

import msgspec

from greenroom.domain import occupancy, presence, role, sitting, status, supervision, task
from greenroom.domain.reliability import DEFAULTS
from tools.table import code, table


def draw_tasks() -> str:
    """The table of a task's transitions as a diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    lines.append(f"    [*] --> {occupancy.opening_state(0, 1)}: open")
    lines.append(f"    [*] --> {occupancy.opening_state(1, 1)}: open, the room is full")
    for state, moves in task.TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {move}" for move, targets in moves.items() for target in targets]
        if not moves:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


def draw_joins() -> str:
    """What a join does, for each participant that may join."""
    meanings = {
        sitting.SIT_NEW: "a new participant with the role's next epoch; every older one is closed",
        sitting.SIT_AGAIN: "the same participant is present again",
        sitting.STAY: "nothing changes; it counts as a heartbeat",
        sitting.REFUSE: "`superseded`, and nothing changes",
    }
    rows = [(caller, code(step := sitting.decide_join(known, 2)), meanings[step]) for caller, known in list_callers()]
    return table(("caller", "result of a join", "meaning"), rows)


def draw_verdicts() -> str:
    """The verdict on any other call of a participant."""
    rows = [(caller, code(sitting.judge(known, 2))) for caller, known in list_callers()]
    return table(("caller", "verdict"), rows)


def list_callers() -> list[tuple[str, sitting.Sitting | None]]:
    """An unknown caller, and each status of the newest participant and of an older one."""
    cases: list[tuple[str, sitting.Sitting | None]] = [("a `connection_id` never seen in this role", None)]
    for epoch, description in ((2, "the newest participant"), (1, "an older participant")):
        for state in (sitting.PRESENT, sitting.ABSENT, sitting.CLOSED):
            if (epoch, state) == (1, sitting.PRESENT):
                continue  # A newer participant closes it in the same transaction.
            participant = sitting.Sitting(
                room="r", role="builder", connection_id="c", epoch=epoch, status=state, machine=None, joined_at=""
            )
            cases.append((f"{description}, {state}", participant))
    return cases


def draw_presence() -> str:
    """What the client does after each answer to a join and to a heartbeat."""
    rows = []
    for call, result in product((presence.JOIN, presence.BEAT), RESULTS):
        party = presence.presence_of_agent(DEFAULTS)
        party.call, party.call_at, party.ok_at = call, 0.0, -30.0
        notices = apply_result(party, result)
        next_call = f"ended: {party.ended}" if party.ended else f"`{party.call}` {describe_call_time(party.call_at)}"
        rows.append((code(call), result, next_call, ", ".join(map(code, notices))))
    return table(("call", "result", "next call", "signals inside the client"), rows)


RESULTS = ("`ok`", "`rejoin_required`", "`drain`", "`superseded`", "no answer", "refused", "a wake from sleep")


def apply_result(party: presence.Presence, result: str) -> list[str]:
    """Apply a result at second 0. The server requests the next call in 27 s. Returns the signals inside the client."""
    match result:
        case "no answer":
            return party.failed(0.0, 0.5)
        case "refused":
            return party.refused()
        case "a wake from sleep":
            return party.woke(0.0)
    return party.answered(0.0, result.strip("`"), 27.0, 0.0)


def describe_call_time(call_at: float) -> str:
    """Describe when the next call is due, if the server requested 27 s and a random delay is 1 s (half of 2 s)."""
    if call_at == 0.0:
        return "at once"
    return "at the requested time" if call_at == 27.0 else "after a random delay" if call_at == 1.0 else "after a delay"


def draw_statuses() -> str:
    """A role's status in each situation that the rules distinguish, in the order of the rules."""
    rows = []
    for situation, judged_role, signs in situations():
        role_status = status.judge(judged_role, signs)
        rows.append((situation, code(role_status.status), role_status.reason or ""))
    return table(("situation", "status", "reason, for example"), rows)


def situations() -> list[tuple[str, role.Role, status.Signs]]:
    """The situations that the rules distinguish. It is 12:00; a deadline at 11:00 has passed."""
    present = status.Signs(
        seat="shop/builder", now=NOON, present=True, working=False, machine="studio", machine_connected=True
    )
    change = msgspec.structs.replace
    absent = change(present, present=False)
    run = role.Role(room="r", name="builder", position=0, kind=role.REMOTE, machine="studio")
    stop = change(run, desired=role.STOPPED, desired_by="operator")
    unmanaged = change(run, kind=role.CUSTOM, machine=None)
    failed = change(run, rests_as=role.BACKING_OFF, rests_until=LATER, last_exit="killed by signal 9")
    crash_looping = change(run, rests_as=role.PARKED, rests_until=LATER, last_exit="3 failures within 300 s")
    login = change(run, rests_as=role.PAUSED, last_exit="not logged in")
    limited = change(run, rests_as=role.PAUSED, rests_until=LATER, last_exit="a rate limit")
    held_back = "its task was taken over from conn_1, whose run is being stopped"
    overdue = change(absent, starts_until=EARLIER)
    return [
        (
            "present; its machine's heartbeat is late by more than an interval",
            run,
            change(present, machine_silent=True),
        ),
        ("present; desired: stopped", stop, change(present, stops_until=LATER)),
        ("present; desired: stopped, and overdue", stop, change(present, stops_until=EARLIER)),
        (
            "present on another machine than the assigned one",
            run,
            change(present, moves_from="laptop", stops_until=LATER),
        ),
        ("present, and holds a task", run, change(present, working=True)),
        ("present, and holds the task of its probe run", crash_looping, change(present, working=True, on_trial=True)),
        ("present; a task of its role is held back after a takeover", run, change(present, waits_for=held_back)),
        ("present", run, present),
        ("absent; desired: stopped", stop, absent),
        ("absent; no daemon runs this agent", unmanaged, change(absent, machine=None)),
        ("absent; no machine is assigned", run, change(absent, machine=None)),
        ("absent; its command reported that a user must act", login, absent),
        ("absent; its probe run failed too", change(crash_looping, rests_until=None), absent),
        ("absent; the machine is not connected", run, change(absent, machine_connected=False)),
        ("absent; its run failed", failed, absent),
        ("absent; crash-looping", crash_looping, absent),
        ("absent; its command reported until when it cannot continue", limited, absent),
        ("absent; its machine's heartbeat is late by more than an interval", run, change(absent, machine_silent=True)),
        ("absent", run, change(absent, starts_until=LATER)),
        ("absent, and overdue", run, overdue),
    ]


NOON, EARLIER, LATER = (f"2026-01-01T{hour}:00:00.000Z" for hour in (12, 11, 13))


def draw_supervision() -> str:
    """What a daemon does about a role, in each case."""
    limits, fresh = DEFAULTS, supervision.History(generation=2)
    failed = supervision.ended(fresh, 2, 0.0, 0.5, limits, "exit code 1")
    crash_looping, probe_failed = make_crash_looping_histories()
    login = supervision.paused(fresh, 2, 0.0, None, "not logged in")
    cases = (
        ("has joined", "running, the same generation", True, 2, fresh, 0.1),
        ("has joined", "running, a newer generation", True, 1, fresh, 0.1),
        ("has joined", "stopped", False, 2, fresh, 0.1),
        ("has not joined", "stopped", False, None, fresh, 0.1),
        ("has not joined", "running", True, None, fresh, 0.1),
        ("has not joined; its run has just failed", "running, the same generation", True, None, failed, 0.1),
        ("has not joined; crash-looping", "running, the same generation", True, None, crash_looping, 0.1),
        (
            "has not joined; crash-looping, and the pause is over",
            "running, the same generation",
            True,
            None,
            crash_looping,
            limits.park_pause_s,
        ),
        ("has not joined; its probe run failed too", "running, the same generation", True, None, probe_failed, 1e6),
        (
            "has not joined; its command reported that a user must act",
            "running, the same generation",
            True,
            None,
            login,
            1e6,
        ),
        (
            "has not joined; another participant has the role",
            "running, the same generation",
            True,
            None,
            supervision.yielded(fresh, 2, 0.0, limits),
            0.1,
        ),
        (
            "has not joined; after any hold",
            "running, a newer generation",
            True,
            None,
            with_older_generation(probe_failed),
            0.1,
        ),
    )
    rows = []
    for daemon, desired, is_desired, running_generation, history, now in cases:
        step = supervision.decide(is_desired, 2, running_generation, history, now)
        rows.append((daemon, desired, code(step.action), step.reason))
    return table(("the daemon", "desired", "step", "reason"), rows)


def draw_rests() -> str:
    """The restart hold after each outcome of a run, for a healthy agent and for a crash-looping one."""
    crash_looping, _ = make_crash_looping_histories()
    rows = []
    for agent, history in (("healthy", supervision.History(generation=2)), ("crash-looping, probe run", crash_looping)):
        for outcome, after in list_outcomes(history):
            rows.append((agent, outcome, code(after.rest) if after.rest else "none", format_until(after)))
    return table(("agent", "outcome", "restart hold", "until"), rows)


def list_outcomes(history: supervision.History) -> list[tuple[str, supervision.History]]:
    """Each outcome of an agent's run at second 1000, with the restart state after it."""
    at, limits = 1000.0, DEFAULTS
    return [
        ("its run completed its task", supervision.succeeded(history, 2)),
        ("its run failed", supervision.ended(history, 2, at, 0.0, limits, "exit code 1")),
        ("its command could not be started", supervision.hindered(history, 2, at, 0.0, limits, "no such program")),
        ("its command reported a rate limit", supervision.paused(history, 2, at, at + 3600, "a rate limit")),
        ("its command reported a missing login", supervision.paused(history, 2, at, None, "not logged in")),
        ("another participant has the role", supervision.yielded(history, 2, at, limits)),
    ]


def format_until(history: supervision.History) -> str:
    """Describe the end of a restart hold that began at second 1000."""
    if history.rest is None:
        return ""
    if history.rests_until is None:
        return "a user restarts it"
    return f"{history.rests_until - 1000.0:g} s later{' at least' if history.rest == supervision.BACKING_OFF else ''}"


def make_crash_looping_histories() -> tuple[supervision.History, supervision.History]:
    """A crash-looping agent, and the same one after its probe run failed."""
    history = supervision.History(generation=2)
    for _ in range(DEFAULTS.park_after_ends):
        history = supervision.ended(history, 2, 0.0, 0.5, DEFAULTS, "exit code 1")
    return history, supervision.ended(history, 2, DEFAULTS.park_pause_s, 0.5, DEFAULTS, "exit code 1")


def with_older_generation(history: supervision.History) -> supervision.History:
    """The same history, of an older generation of the agent spec."""
    return msgspec.structs.replace(history, generation=1)
