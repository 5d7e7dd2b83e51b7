"""Generates the docs' diagrams and tables of state machines by running the rules of the domain.

The task's state machine is a table in `domain.task`; the others are functions, which are called for every case.
"""

from itertools import product

import msgspec

from greenroom.domain import heartbeat_policy, participant, restart_policy, role, role_status, task
from greenroom.domain.limits import DEFAULT_LIMITS
from tools.table import format_code, format_table


def draw_tasks() -> str:
    """The table of a task's transitions as a diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    lines.append(f"    [*] --> {task.initial_state(0, 1)}: open")
    lines.append(f"    [*] --> {task.initial_state(1, 1)}: open, the room is full")
    for state, moves in task.TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {move}" for move, targets in moves.items() for target in targets]
        if not moves:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


def draw_joins() -> str:
    """What a join does, for each participant that may join."""
    meanings = {
        participant.JOIN_NEW: "a new participant with the role's next epoch; every older one is closed",
        participant.REJOIN: "the same participant is present again",
        participant.ALREADY_PRESENT: "nothing changes; it counts as a heartbeat",
        participant.REJECT: "`superseded`, and nothing changes",
    }
    rows = [
        (caller, format_code(step := participant.decide_join(known, 2)), meanings[step])
        for caller, known in list_callers()
    ]
    return format_table(("caller", "result of a join", "meaning"), rows)


def draw_verdicts() -> str:
    """The verdict on any other call of a participant."""
    rows = [(caller, format_code(participant.judge_call(known, 2))) for caller, known in list_callers()]
    return format_table(("caller", "verdict"), rows)


def list_callers() -> list[tuple[str, participant.Participant | None]]:
    """An unknown caller, and each status of the newest participant and of an older one."""
    cases: list[tuple[str, participant.Participant | None]] = [("a `connection_id` never seen in this role", None)]
    for epoch, description in ((2, "the newest participant"), (1, "an older participant")):
        for state in (participant.PRESENT, participant.ABSENT, participant.CLOSED):
            if (epoch, state) == (1, participant.PRESENT):
                continue  # A newer participant closes it in the same transaction.
            known = participant.Participant(
                room="r", role="builder", connection_id="c", epoch=epoch, status=state, machine=None, joined_at=""
            )
            cases.append((f"{description}, {state}", known))
    return cases


def draw_heartbeat_policy() -> str:
    """What the client does after each answer to a join and to a heartbeat."""
    rows = []
    for call, result in product((heartbeat_policy.JOIN, heartbeat_policy.BEAT), RESULTS):
        party = heartbeat_policy.agent_heartbeat_policy(DEFAULT_LIMITS)
        party.next_call, party.next_call_at, party.ok_at = call, 0.0, -30.0
        notices = apply_result(party, result)
        next_call = (
            f"ended: {party.end_reason}"
            if party.end_reason
            else f"`{party.next_call}` {describe_call_time(party.next_call_at)}"
        )
        rows.append((format_code(call), result, next_call, ", ".join(map(format_code, notices))))
    return format_table(("call", "result", "next call", "signals inside the client"), rows)


RESULTS = ("`ok`", "`rejoin_required`", "`drain`", "`superseded`", "no answer", "refused", "a wake from sleep")


def apply_result(party: heartbeat_policy.HeartbeatPolicy, result: str) -> list[str]:
    """Apply a result at second 0. The server requests the next call in 27 s. Returns the signals inside the client."""
    match result:
        case "no answer":
            return party.record_failure(0.0, 0.5)
        case "refused":
            return party.record_refusal()
        case "a wake from sleep":
            return party.record_wake(0.0)
    return party.record_answer(0.0, result.strip("`"), 27.0, 0.0)


def describe_call_time(call_at: float) -> str:
    """Describe when the next call is due, if the server requested 27 s and a random delay is 1 s (half of 2 s)."""
    if call_at == 0.0:
        return "at once"
    return "at the requested time" if call_at == 27.0 else "after a random delay" if call_at == 1.0 else "after a delay"


def draw_statuses() -> str:
    """A role's status in each situation that the rules distinguish, in the order of the rules."""
    rows = []
    for situation, judged_role, signs in situations():
        view = role_status.decide_status(judged_role, signs)
        rows.append((situation, format_code(view.status), view.reason or ""))
    return format_table(("situation", "status", "reason, for example"), rows)


def situations() -> list[tuple[str, role.Role, role_status.RoleObservation]]:
    """The situations that the rules distinguish. It is 12:00; a deadline at 11:00 has passed."""
    present = role_status.RoleObservation(
        role_path="shop/builder", now=NOON, present=True, working=False, machine="studio", machine_connected=True
    )
    change = msgspec.structs.replace
    absent = change(present, present=False)
    run = role.Role(room="r", name="builder", position=0, kind=role.REMOTE, machine="studio")
    stop = change(run, desired=role.STOPPED, desired_by="operator")
    unmanaged = change(run, kind=role.CUSTOM, machine=None)
    failed = change(run, hold=role.BACKING_OFF, hold_until=LATER, last_exit="killed by signal 9")
    crash_looping = change(run, hold=role.CRASH_LOOPING, hold_until=LATER, last_exit="3 failures within 300 s")
    login = change(run, hold=role.PAUSED, last_exit="not logged in")
    limited = change(run, hold=role.PAUSED, hold_until=LATER, last_exit="a rate limit")
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
            change(present, previous_machine="laptop", stops_until=LATER),
        ),
        ("present, and holds a task", run, change(present, working=True)),
        (
            "present, and holds the task of its probe run",
            crash_looping,
            change(present, working=True, is_probe_run=True),
        ),
        ("present; a task of its role is held back after a takeover", run, change(present, waits_for=held_back)),
        ("present", run, present),
        ("absent; desired: stopped", stop, absent),
        ("absent; no daemon runs this agent", unmanaged, change(absent, machine=None)),
        ("absent; no machine is assigned", run, change(absent, machine=None)),
        ("absent; its command reported that a user must act", login, absent),
        ("absent; its probe run failed too", change(crash_looping, hold_until=None), absent),
        ("absent; the machine is not connected", run, change(absent, machine_connected=False)),
        ("absent; its run failed", failed, absent),
        ("absent; crash-looping", crash_looping, absent),
        ("absent; its command reported until when it cannot continue", limited, absent),
        ("absent; its machine's heartbeat is late by more than an interval", run, change(absent, machine_silent=True)),
        ("absent", run, change(absent, starts_until=LATER)),
        ("absent, and overdue", run, overdue),
    ]


NOON, EARLIER, LATER = (f"2026-01-01T{hour}:00:00.000Z" for hour in (12, 11, 13))


def draw_restart_policy() -> str:
    """What a daemon does about a role, in each case."""
    limits, fresh = DEFAULT_LIMITS, restart_policy.RestartHistory(generation=2)
    failed = restart_policy.record_failure(fresh, 2, 0.0, 0.5, limits, "exit code 1")
    crash_looping, probe_failed = make_crash_looping_histories()
    login = restart_policy.record_pause(fresh, 2, 0.0, None, "not logged in")
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
            limits.crash_loop_probe_after_s,
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
            restart_policy.record_yield(fresh, 2, 0.0, limits),
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
        step = restart_policy.decide_step(is_desired, 2, running_generation, history, now)
        rows.append((daemon, desired, format_code(step.action), step.reason))
    return format_table(("the daemon", "desired", "step", "reason"), rows)


def draw_restart_holds() -> str:
    """The restart hold after each outcome of a run, for a healthy agent and for a crash-looping one."""
    crash_looping, _ = make_crash_looping_histories()
    rows = []
    for agent, history in (
        ("healthy", restart_policy.RestartHistory(generation=2)),
        ("crash-looping, probe run", crash_looping),
    ):
        for outcome, after in list_outcomes(history):
            rows.append((agent, outcome, format_code(after.hold) if after.hold else "none", format_until(after)))
    return format_table(("agent", "outcome", "restart hold", "until"), rows)


def list_outcomes(history: restart_policy.RestartHistory) -> list[tuple[str, restart_policy.RestartHistory]]:
    """Each outcome of an agent's run at second 1000, with the restart state after it."""
    at, limits = 1000.0, DEFAULT_LIMITS
    return [
        ("its run completed its task", restart_policy.record_success(history, 2)),
        ("its run failed", restart_policy.record_failure(history, 2, at, 0.0, limits, "exit code 1")),
        (
            "its command could not be started",
            restart_policy.record_failed_start(history, 2, at, 0.0, limits, "no such program"),
        ),
        ("its command reported a rate limit", restart_policy.record_pause(history, 2, at, at + 3600, "a rate limit")),
        ("its command reported a missing login", restart_policy.record_pause(history, 2, at, None, "not logged in")),
        ("another participant has the role", restart_policy.record_yield(history, 2, at, limits)),
    ]


def format_until(history: restart_policy.RestartHistory) -> str:
    """Describe the end of a restart hold that began at second 1000."""
    if history.hold is None:
        return ""
    if history.hold_until is None:
        return "a user restarts it"
    return f"{history.hold_until - 1000.0:g} s later{' at least' if history.hold == restart_policy.BACKING_OFF else ''}"


def make_crash_looping_histories() -> tuple[restart_policy.RestartHistory, restart_policy.RestartHistory]:
    """A crash-looping agent, and the same one after its probe run failed."""
    history = restart_policy.RestartHistory(generation=2)
    for _ in range(DEFAULT_LIMITS.crash_loop_after_failures):
        history = restart_policy.record_failure(history, 2, 0.0, 0.5, DEFAULT_LIMITS, "exit code 1")
    return history, restart_policy.record_failure(
        history, 2, DEFAULT_LIMITS.crash_loop_probe_after_s, 0.5, DEFAULT_LIMITS, "exit code 1"
    )


def with_older_generation(history: restart_policy.RestartHistory) -> restart_policy.RestartHistory:
    """The same history, of an older generation of the agent spec."""
    return msgspec.structs.replace(history, generation=1)
