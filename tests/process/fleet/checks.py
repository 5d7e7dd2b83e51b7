"""Checks of the promises that hold after every fault, on what was observed from outside.

A check yields a sentence for each violation. The instants of the server's events and of the diaries are of one wall
clock, since all machines of a fleet run on one computer. Instants are compared only where one thing has to wait for
the other, so that a slow computer can only put more time between them; no check fails because something is late.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from tests.process.fleet.diaries import AgentRun
from tests.process.fleet.observation import Attempt, Event, Observation, attempt_of, role_of, seconds

ROUNDING_S = 0.01
"""Tolerance in seconds: an event's instant is rounded to a millisecond, and a daemon reads its clock more than once."""
SILENT = re.compile(r"(?:no heartbeat|not named by its machine's daemon).* for ([\d.]+) s \(limit ([\d.]+) s\)")
WITH_ITS_MACHINE = "machine "
EXPECTED_CAUSES = (WITH_ITS_MACHINE, "its daemon was stopped")
"""How the causes begin of participants that expire without a silence of their own: their machine went, or left."""
BY_RESULT = "it made a call about its task"
"""The cause of a participant that rejoins by handing in a result."""
Check = Callable[[Observation], Iterator[str]]


def each_attempt_has_one_result(observed: Observation) -> Iterator[str]:
    """I1: at most one result is accepted, and it is the current attempt's."""
    current: dict[str, int] = {}
    results: Counter[str] = Counter()
    for event in observed.of("task.claimed", "task.completed"):
        task, attempt = attempt_of(event)
        if event["type"] == "task.claimed":
            current[task] = attempt
            continue
        results[task] += 1
        if event["data"]["accepted_attempt"] != current.get(task):
            yield f"{task}: attempt {event['data']['accepted_attempt']} was accepted, {current.get(task)} is current"
    yield from (f"{task}: {count} results were accepted" for task, count in results.items() if count > 1)


def numbers_only_rise(observed: Observation) -> Iterator[str]:
    """I4: epochs, generations, attempts and the log's numbers only rise; streams and a task's attempts have no gap."""
    last: dict[tuple[str, ...], int] = {}
    named = {"participant.joined": "epoch", "agent.configured": "generation", "task.claimed": "attempt"}
    for event in observed.events:
        numbered = [("pos",), ("seq", event["stream"])]
        numbers = [event["pos"], event["seq"]]
        if event["type"] in named:
            name = named[event["type"]]
            numbered.append((name, event["data"]["task"]) if name == "attempt" else (name, *role_of(event)))
            numbers.append(event["data"][name])
        for key, number in zip(numbered, numbers, strict=True):
            if number <= last.get(key, 0):
                yield f"{' of '.join(key)} fell from {last[key]} to {number} at event {event['pos']}"
            if key[0] in ("seq", "attempt") and number > last.get(key, 0) + 1:
                yield f"{' of '.join(key)} leapt from {last.get(key, 0)} to {number} at event {event['pos']}"
            last[key] = number


def failed_holders_release_tasks(observed: Observation) -> Iterator[str]:
    """I6: the report of its holder's exit releases a task; without one, the silence after the lease does."""
    end_events = ("task.released", "task.completed", "task.quarantined", "task.closed")
    released = first_of(observed, *end_events)
    exited = first_of(observed, "agent.exited")
    expired = {event["data"]["connection_id"]: event for event in observed.of("participant.expired")}
    claimed_by = {attempt_of(event): event["data"]["connection_id"] for event in observed.of("task.claimed")}
    for failure in observed.failures:
        key = (failure.task, failure.attempt)
        release = released.get(key)
        if release is None:
            yield f"{failure.task}: attempt {failure.attempt} failed and still holds it"
            continue
        if seconds(release["at"]) < failure.at - ROUNDING_S:
            yield f"{failure.task}: attempt {failure.attempt} was released before it failed"
        if failure.silent_s is None:
            exit_report = exited.get(key)
            if exit_report is None or exit_report["at"] != release["at"] or exit_report["pos"] > release["pos"]:
                yield f"{failure.task}: attempt {failure.attempt} was not released with the report of its exit"
            continue
        expiry = expired.get(claimed_by[key])
        if expiry is None or seconds(release["at"]) - seconds(expiry["at"]) < failure.silent_s - ROUNDING_S:
            yield f"{failure.task}: attempt {failure.attempt} was released before its holder was silent for long enough"


def nothing_is_lost(observed: Observation) -> Iterator[str]:
    """I7: each answered task is stored, has one `task.opened`, and has the result of the accepted attempt."""
    opened = Counter(event["data"]["task"] for event in observed.of("task.opened"))
    for task in observed.answered:
        if task not in observed.tasks or opened[task] != 1:
            yield f"{task} was answered, and is {'' if task in observed.tasks else 'not '}stored, {opened[task]} events"
    for name, shown in observed.tasks.items():
        attempt, result = shown["accepted_attempt"], shown["result"] or ""
        if shown["status"] == "completed" and f"did {name} in attempt {attempt}" not in result:
            yield f"{name} has not the result of attempt {attempt}: {result[-80:]!r}"


def silence_changes_no_run(observed: Observation) -> Iterator[str]:
    """I8: while a machine is silent, none of its runs begins, and none is ended except by itself."""
    for silence in observed.silences:
        for run in observed.runs:
            if run.machine != silence.machine:
                continue
            if silence.began_at < run.began_at < silence.ended_at:
                yield f"{run} began in a silence"
            if silence.began_at < run.last_at < silence.ended_at and run.end is None:
                yield f"{run} was ended in a silence"


def runs_begin_in_held_attempts(observed: Observation) -> Iterator[str]:
    """I10: a run begins only in an attempt that its participant has claimed and still holds."""
    claimed_by = {attempt_of(event): event["data"]["connection_id"] for event in observed.of("task.claimed")}
    changes: dict[Attempt, list[tuple[float, bool]]] = {}
    for event in observed.of("task.claimed", "task.resumed", "task.released", "task.quarantined", "task.closed"):
        holds = event["type"] in ("task.claimed", "task.resumed")
        changes.setdefault(attempt_of(event), []).append((seconds(event["at"]), holds))
    for run in observed.runs:
        key = (run.task, run.attempt)
        before = [holds for at, holds in changes.get(key, []) if at <= run.began_at + ROUNDING_S]
        if claimed_by.get(key) != run.connection:
            yield f"{run} was begun by {run.connection}, and was claimed by {claimed_by.get(key)}"
        elif not before or not before[-1]:
            yield f"{run} began when its attempt was {'over' if before else 'not claimed yet'}"


def expired_participants_were_silent(observed: Observation) -> Iterator[str]:
    """A participant expires, and a machine is disconnected, only after the silence of a lease or because it left."""
    for event in observed.of("machine.disconnected", "participant.expired"):
        if (match := SILENT.match(event["cause"])) is not None:
            silent_s, lease_s = map(float, match.groups())
            if silent_s < lease_s:
                yield f"{event['type']} at event {event['pos']} after {silent_s:g} s of a lease of {lease_s:g} s"
        elif not event["cause"].startswith(EXPECTED_CAUSES):
            yield f"{event['type']} at event {event['pos']} without a silence: {event['cause']}"


def machines_reconnect_with_agents(observed: Observation) -> Iterator[str]:
    """A machine disconnects and reconnects in turn, and each agent that expired with it rejoins in the same moment.

    Only an agent that hands in a result rejoins before its machine.
    """
    connected: dict[str, str] = {}
    expired_with: dict[str, str] = {}
    reconnected_at: dict[str, str] = {}
    for event in observed.of(
        "machine.reconnected", "machine.disconnected", "participant.expired", "participant.rejoined"
    ):
        data, name = event["data"], event["data"].get("machine")
        if event["type"] == "machine.reconnected":
            if connected.get(name) == data["incarnation"]:
                yield f"{name} reconnected at event {event['pos']} without having been disconnected"
            connected[name], reconnected_at[name] = data["incarnation"], event["at"]
        elif event["type"] == "machine.disconnected":
            if connected.pop(name, None) is None:
                yield f"{name} was disconnected at event {event['pos']} without having been connected"
        elif event["type"] == "participant.expired":
            if event["cause"].startswith(WITH_ITS_MACHINE):
                expired_with[data["connection_id"]] = name
        else:
            machine = expired_with.pop(data["connection_id"], None)
            is_alone = machine is not None and reconnected_at.get(machine) != event["at"]
            if is_alone and event["cause"] != BY_RESULT:
                yield f"{data['role']} rejoined at event {event['pos']}, and not with its machine"


def takeovers_were_requested(observed: Observation) -> Iterator[str]:
    """A participant supersedes another only if a user has moved the role or takes it over."""
    configured_at: dict[tuple[str, str], int] = {}
    joined_at: dict[tuple[str, str], int] = {}
    superseded_at: dict[tuple[str, str], int] = {}
    for event in observed.of("agent.configured", "participant.superseded", "participant.joined"):
        role = role_of(event)
        if event["type"] == "agent.configured":
            configured_at[role] = event["pos"]
        elif event["type"] == "participant.superseded":
            superseded_at[role] = event["pos"]
        else:
            is_user = event["data"]["machine"] is None
            if superseded_at.pop(role, None) and not is_user and configured_at.get(role, 0) < joined_at.get(role, 0):
                yield f"{event['data']['connection_id']} took {role[1]} at event {event['pos']}, and no user asked"
            joined_at[role] = event["pos"]


def restarts_stay_in_budget(observed: Observation) -> Iterator[str]:
    """I11: no run of a role begins before its backoff is over, and a window has no more failures than the budget."""
    failed_at: dict[tuple[str, str], list[float]] = {}
    held_until: dict[tuple[str, str], float] = {}
    for event in observed.of("agent.exited", "agent.started", "agent.configured"):
        role = role_of(event)
        if event["type"] == "agent.configured":  # a new spec resets the budget
            failed_at.pop(role, None), held_until.pop(role, None)
        elif event["type"] == "agent.started":
            early_s = held_until.get(role, 0.0) - seconds(event["data"]["at"])
            if early_s > ROUNDING_S:
                yield f"{role[1]} was run {early_s:.2f} s before its backoff was over"
        elif not event["data"]["intended"]:
            at = seconds(event["data"]["at"])
            failed_at.setdefault(role, []).append(at)
            recent = [each for each in failed_at[role] if at - each < observed.budget.window_s]
            if len(recent) > observed.budget.failures_max:
                yield f"{role[1]} failed {len(recent)} times in {observed.budget.window_s:g} s and was still restarted"
            if event["data"]["until"] is not None:
                held_until[role] = seconds(event["data"]["until"])


def no_attempt_runs_twice(observed: Observation) -> Iterator[str]:
    """One run for each attempt; no two of one task at a time on one machine; none alive after its end was reported.

    An attempt that ended by silence or a takeover may run on another machine for a while: it is fenced off.
    """
    begun = Counter((run.task, run.attempt) for run in observed.runs)
    yield from (f"{task}: attempt {attempt} was run {n} times" for (task, attempt), n in begun.items() if n > 1)
    exited = {attempt_of(event): seconds(event["at"]) for event in observed.of("agent.exited") if event["data"]["task"]}
    for older, newer in pairs(observed.runs):
        if older.machine == newer.machine and newer.began_at < older.last_at:
            yield f"{newer} began while {older} was running"
    for run in observed.runs:
        if (reported_at := exited.get((run.task, run.attempt))) is not None and run.last_at > reported_at + ROUNDING_S:
            yield f"{run} ran on for {run.last_at - reported_at:.2f} s after its end was reported"


def reports_come_once_and_in_order(observed: Observation) -> Iterator[str]:
    """Each run's start and end are reported at most once, in this order, and in the order in which they happened."""
    times: Counter[tuple[str, Attempt, str]] = Counter()
    ended: set[Attempt] = set()
    last: dict[str, float] = {}
    for event in observed.of("agent.started", "agent.exited"):
        data, attempt = event["data"], attempt_of(event)
        if data["task"] is None:
            continue
        times[event["type"], attempt, data["connection_id"]] += 1
        if event["type"] == "agent.exited":
            ended.add(attempt)
        elif attempt in ended:
            yield f"{attempt} was reported as started after it was reported as exited"
        at = seconds(data["at"])
        if at < last.get(data["connection_id"], 0.0):
            yield f"{event['type']} of {attempt} came after a later report"
        last[data["connection_id"]] = at
    yield from (f"{kind} of {attempt} came {n} times" for (kind, attempt, _), n in times.items() if n > 1)


def first_of(observed: Observation, *kinds: str) -> dict[Attempt, Event]:
    """The first event of these types about each attempt."""
    found: dict[Attempt, Event] = {}
    for event in observed.of(*kinds):
        found.setdefault(attempt_of(event), event)
    return found


def pairs(runs: Sequence[AgentRun]) -> Iterator[tuple[AgentRun, AgentRun]]:
    """All pairs of runs of one task, the earlier run first."""
    for one, other in combinations(sorted(runs, key=lambda run: run.began_at), 2):
        if one.task == other.task:
            yield one, other


CHECKS: tuple[Check, ...] = (
    each_attempt_has_one_result,
    numbers_only_rise,
    failed_holders_release_tasks,
    nothing_is_lost,
    silence_changes_no_run,
    runs_begin_in_held_attempts,
    expired_participants_were_silent,
    machines_reconnect_with_agents,
    takeovers_were_requested,
    restarts_stay_in_budget,
    no_attempt_runs_twice,
    reports_come_once_and_in_order,
)


def violations(observed: Observation) -> list[str]:
    """All violations, each with the name of its check."""
    return [f"{check.__name__}: {violation}" for check in CHECKS for violation in check(observed)]
