"""Draws the state machines by asking the rules themselves. Must not repeat a rule: it is run, and its answer told.

The task's machine is a table in `domain.task`; the others are functions, and are asked about every case there is.
"""

from itertools import product

import msgspec

from greenroom.domain import occupancy, presence, role, sitting, status, supervision, task
from greenroom.domain.reliability import DEFAULTS
from tools.table import code, table


def draw_tasks() -> str:
    """The table of a task's moves as a diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    lines.append(f"    [*] --> {occupancy.opening_state(0, 1)}: open")
    lines.append(f"    [*] --> {occupancy.opening_state(1, 1)}: open, the room is full")
    for state, moves in task.TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {move}" for move, targets in moves.items() for target in targets]
        if not moves:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


def draw_joins() -> str:
    """What a join does, for each sitting that may ask."""
    means = {
        sitting.SIT_NEW: "a new sitting with the role's next epoch; every older one is closed",
        sitting.SIT_AGAIN: "the same sitting is present again",
        sitting.STAY: "nothing changes; it counts as a beat",
        sitting.REFUSE: "`superseded`, and nothing changes",
    }
    rows = [(asks, code(step := sitting.decide_join(known, 2)), means[step]) for asks, known in sittings_that_ask()]
    return table(("who asks", "what a join does", "that is"), rows)


def draw_verdicts() -> str:
    """How any other call of a sitting is judged."""
    rows = [(asks, code(sitting.judge(known, 2))) for asks, known in sittings_that_ask()]
    return table(("who asks", "verdict"), rows)


def sittings_that_ask() -> list[tuple[str, sitting.Sitting | None]]:
    """Nobody known, and every status of the newest sitting and of one that a newer one has followed."""
    cases: list[tuple[str, sitting.Sitting | None]] = [("a `connection_id` never seen in this role", None)]
    for epoch, words in ((2, "the newest sitting"), (1, "an older sitting")):
        for state in (sitting.PRESENT, sitting.ABSENT, sitting.CLOSED):
            if (epoch, state) == (1, sitting.PRESENT):
                continue  # A newer sitting closes it in the same transaction.
            made = sitting.Sitting(
                room="r", role="builder", connection_id="c", epoch=epoch, status=state, machine=None, joined_at=""
            )
            cases.append((f"{words}, {state}", made))
    return cases


def draw_presence() -> str:
    """What the client's side does about each answer, when it was joining and when it was beating."""
    rows = []
    for call, happening in product((presence.JOIN, presence.BEAT), HAPPENINGS):
        party = presence.presence_of_agent(DEFAULTS)
        party.call, party.call_at, party.ok_at = call, 0.0, -30.0
        notices = happen(party, happening)
        after = f"ended: {party.ended}" if party.ended else f"`{party.call}` {when(party.call_at)}"
        rows.append((code(call), happening, after, ", ".join(map(code, notices))))
    return table(("it sent", "what happened", "what it sends next", "what is told inside the client"), rows)


HAPPENINGS = ("`ok`", "`rejoin_required`", "`drain`", "`superseded`", "no answer", "refused", "a wake from sleep")


def happen(party: presence.Presence, happening: str) -> list[str]:
    """Let it happen at second 0, with the server's wish to be called again in 27 s."""
    match happening:
        case "no answer":
            return party.failed(0.0, 0.5)
        case "refused":
            return party.refused()
        case "a wake from sleep":
            return party.woke(0.0)
    return party.answered(0.0, happening.strip("`"), 27.0, 0.0)


def when(call_at: float) -> str:
    """In words, the second of the next call, given that the server asked for 27 and that pauses are half of 2."""
    if call_at == 0.0:
        return "at once"
    return "when the server said" if call_at == 27.0 else "after a random pause" if call_at == 1.0 else "after a pause"


def draw_statuses() -> str:
    """A role's status in each situation that the rules tell apart, the first rule first."""
    rows = []
    for situation, wished, signs in situations():
        told = status.judge(wished, signs)
        rows.append((situation, code(told.status), told.reason or ""))
    return table(("situation", "status", "reason, for example"), rows)


def situations() -> list[tuple[str, role.Role, status.Signs]]:
    """What the rules tell apart. It is 12:00; whatever should be over by 11:00 is overdue."""
    here = status.Signs(
        seat="shop/builder", now=NOON, present=True, working=False, machine="studio", machine_connected=True
    )
    change = msgspec.structs.replace
    gone = change(here, present=False)
    run = role.Role(room="r", name="builder", position=0, kind=role.REMOTE, machine="studio")
    stop = change(run, desired=role.STOPPED, desired_by="operator")
    own = change(run, kind=role.CUSTOM, machine=None)
    died = change(run, rests_as=role.BACKING_OFF, rests_until=LATER, last_exit="killed by signal 9")
    parked = change(run, rests_as=role.PARKED, rests_until=LATER, last_exit="3 unintended ends within 300 s")
    login = change(run, rests_as=role.PAUSED, last_exit="nobody is logged in")
    limited = change(run, rests_as=role.PAUSED, rests_until=LATER, last_exit="a rate limit")
    held_back = "its task was taken over from conn_1, whose run is being stopped"
    overdue = change(gone, starts_until=EARLIER)
    return [
        ("present; its machine is late by more than an interval", run, change(here, machine_silent=True)),
        ("present; a stop is wished", stop, change(here, stops_until=LATER)),
        ("present; a stop is wished, and should be done by now", stop, change(here, stops_until=EARLIER)),
        ("present on another machine than is wished", run, change(here, moves_from="laptop", stops_until=LATER)),
        ("present, and holds a task", run, change(here, working=True)),
        ("present, and holds the task of its one run on trial", parked, change(here, working=True, on_trial=True)),
        ("present; a task of its role is held back after a takeover", run, change(here, waits_for=held_back)),
        ("present", run, here),
        ("absent; a stop is wished", stop, gone),
        ("absent; a person runs this agent", own, change(gone, machine=None)),
        ("absent; no machine is chosen", run, change(gone, machine=None)),
        ("absent; it said itself that a person has to see to it", login, gone),
        ("absent; it died on trial too", change(parked, rests_until=None), gone),
        ("absent; the machine is not connected", run, change(gone, machine_connected=False)),
        ("absent; it died and rests", died, gone),
        ("absent; it died too often", parked, gone),
        ("absent; it said itself until when it cannot go on", limited, gone),
        ("absent; its machine is late by more than an interval", run, change(gone, machine_silent=True)),
        ("absent", run, change(gone, starts_until=LATER)),
        ("absent, and should be there by now", run, overdue),
    ]


NOON, EARLIER, LATER = (f"2026-01-01T{hour}:00:00.000Z" for hour in (12, 11, 13))


def draw_supervision() -> str:
    """What a daemon does about a role, for each case there is."""
    limits, fresh = DEFAULTS, supervision.History(generation=2)
    died = supervision.ended(fresh, 2, 0.0, 0.5, limits, "exit code 1")
    parked, trial_died = parked_twice()
    login = supervision.paused(fresh, 2, 0.0, None, "nobody is logged in")
    cases = (
        ("sits there", "running, the same generation", True, 2, fresh, 0.1),
        ("sits there", "running, a newer generation", True, 1, fresh, 0.1),
        ("sits there", "stopped", False, 2, fresh, 0.1),
        ("does not", "stopped", False, None, fresh, 0.1),
        ("does not", "running", True, None, fresh, 0.1),
        ("does not; its run has just died", "running, the same generation", True, None, died, 0.1),
        ("does not; it was parked", "running, the same generation", True, None, parked, 0.1),
        (
            "does not; it was parked, and the pause is over",
            "running, the same generation",
            True,
            None,
            parked,
            limits.park_pause_s,
        ),
        ("does not; it died on trial too", "running, the same generation", True, None, trial_died, 1e6),
        (
            "does not; it said that a person has to see to it",
            "running, the same generation",
            True,
            None,
            login,
            1e6,
        ),
        (
            "does not; somebody else has the role",
            "running, the same generation",
            True,
            None,
            supervision.yielded(fresh, 2, 0.0, limits),
            0.1,
        ),
        ("does not; whatever was before", "running, a newer generation", True, None, under_older(trial_died), 0.1),
    )
    rows = []
    for daemon, wish, desired, seated, history, now in cases:
        step = supervision.decide(desired, 2, seated, history, now)
        rows.append((daemon, wish, code(step.action), step.reason))
    return table(("the daemon", "wished", "step", "because"), rows)


def draw_rests() -> str:
    """What each way of ending leads to, for an agent that was well and for one that is parked."""
    parked, _ = parked_twice()
    rows = []
    for before, history in (("well", supervision.History(generation=2)), ("on trial, parked", parked)):
        for ending, after in endings(history):
            rows.append((before, ending, code(after.rest) if after.rest else "none", until_of(after)))
    return table(("it was", "and then", "it rests as", "until"), rows)


def endings(history: supervision.History) -> list[tuple[str, supervision.History]]:
    """What may come of an agent's run, at second 1000."""
    at, limits = 1000.0, DEFAULTS
    return [
        ("its run did its task", supervision.succeeded(history, 2)),
        ("its run died", supervision.ended(history, 2, at, 0.0, limits, "exit code 1")),
        ("nothing could be run", supervision.hindered(history, 2, at, 0.0, limits, "no such program")),
        ("it is at a rate limit", supervision.paused(history, 2, at, at + 3600, "a rate limit")),
        ("it is not logged in", supervision.paused(history, 2, at, None, "nobody is logged in")),
        ("somebody else has the role", supervision.yielded(history, 2, at, limits)),
    ]


def until_of(history: supervision.History) -> str:
    """In words, the end of a rest that began at second 1000."""
    if history.rest is None:
        return ""
    if history.rests_until is None:
        return "a person starts it anew"
    return f"{history.rests_until - 1000.0:g} s later{' at least' if history.rest == supervision.BACKING_OFF else ''}"


def parked_twice() -> tuple[supervision.History, supervision.History]:
    """An agent that died too often, and the same one after its trial."""
    history = supervision.History(generation=2)
    for _ in range(DEFAULTS.park_after_ends):
        history = supervision.ended(history, 2, 0.0, 0.5, DEFAULTS, "exit code 1")
    return history, supervision.ended(history, 2, DEFAULTS.park_pause_s, 0.5, DEFAULTS, "exit code 1")


def under_older(history: supervision.History) -> supervision.History:
    """The same history, of a wish that is no longer the newest."""
    return msgspec.structs.replace(history, generation=1)
