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
    here = status.Signs(present=True, working=False, machine="studio", machine_connected=True)
    gone = status.Signs(present=False, working=False, machine="studio", machine_connected=True)
    died = msgspec.structs.replace(gone, backing_off_until="2026-01-01T00:00:00.000Z", last_exit="killed by signal 9")
    run = role.Role(room="r", name="builder", position=0, kind=role.REMOTE)
    stop = msgspec.structs.replace(run, desired=role.STOPPED, desired_by="operator")
    own = msgspec.structs.replace(run, kind=role.CUSTOM)
    change = msgspec.structs.replace
    cases = (
        (
            "somebody is present, and its machine is late by more than an interval",
            run,
            change(here, machine_silent=True),
        ),
        ("somebody is present, and a stop is wished", stop, here),
        ("somebody is present and holds a task", run, change(here, working=True)),
        (
            "somebody is present, and a task of its role is held back after a takeover",
            run,
            change(here, waits_for="its task was taken over from conn_1, whose run is being stopped"),
        ),
        ("somebody is present", run, here),
        ("nobody is present, and a stop is wished", stop, gone),
        ("nobody is present, and a person runs this agent", own, change(gone, machine=None)),
        ("nobody is present, and no machine is chosen", run, change(gone, machine=None)),
        ("nobody is present, and the machine is not connected", run, change(gone, machine_connected=False)),
        ("nobody is present, since the agent died and rests", run, died),
        ("nobody is present", run, gone),
    )
    rows = []
    for situation, wished, signs in cases:
        told = status.judge(wished, signs)
        rows.append((situation, code(told.status), told.reason or ""))
    return table(("situation", "status", "reason, for example"), rows)


def draw_supervision() -> str:
    """What a daemon does about a role, for each case there is."""
    fresh = supervision.History(generation=2)
    died = supervision.ended(fresh, 2, 0.0, 0.5, DEFAULTS)
    taken = supervision.yielded(2, 0.0, DEFAULTS)
    cases = (
        ("sits there", "running, the same generation", True, 2, fresh),
        ("sits there", "running, a newer generation", True, 1, fresh),
        ("sits there", "stopped", False, 2, fresh),
        ("does not", "stopped", False, None, fresh),
        ("does not", "running", True, None, fresh),
        ("does not; its run has just died", "running, the same generation", True, None, died),
        ("does not; its run died before", "running, a newer generation", True, None, under_older(died)),
        ("does not; somebody else has the role", "running, the same generation", True, None, taken),
    )
    rows = []
    for daemon, wish, desired, seated, history in cases:
        step = supervision.decide(desired, 2, seated, history, 0.1)
        rows.append((daemon, wish, code(step.action), step.reason))
    return table(("the daemon", "wished", "step", "because"), rows)


def under_older(history: supervision.History) -> supervision.History:
    """The same history, of a wish that is no longer the newest."""
    return msgspec.structs.replace(history, generation=1)
