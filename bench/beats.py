"""Measures how many heartbeats a second the real server answers, compared with an app that only echoes."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bench.house import House, address_of, environment, house, stopped_at_end
from bench.load import AGENT, ECHO, MACHINE, Outcome, Round
from bench.sample import median
from bench.seating import seat_agents, seat_machines, spell_agent_beat, spell_machine_beat
from bench.table import Beside, Goal, Piece, Row

AGENTS: Final = 64
MACHINES: Final = 8
AGENTS_PER_MACHINE: Final = 100
ROUNDS: Final = 9
ROUND_S: Final = 1.0
OK: Final = b'"status":"ok"'


class Subject(msgspec.Struct, frozen=True):
    """One round of requests, and the process that answers them."""

    pid: int
    round: Round


class Reading(msgspec.Struct, frozen=True):
    """One round's outcome, and the server's CPU time for each answer, in microseconds."""

    outcome: Outcome
    cpu_us: float


def measure() -> Piece:
    """Run echo, single beats and machines' beats in turn, so that other load on the machine affects all alike."""
    with house() as greenroom, echo() as (echo_pid, echo_port), load_client() as client:
        subjects = prepare(greenroom, echo_pid, echo_port)
        readings: dict[str, list[Reading]] = {name: [] for name in subjects}
        for _ in range(ROUNDS):
            for name, subject in subjects.items():
                readings[name].append(take(client, name, subject))
    return Piece(rates_of(readings), notes_of(readings))


def rates_of(readings: dict[str, list[Reading]]) -> tuple[Row, ...]:
    """The rows of the table."""
    rates = {name: tuple(reading.outcome.per_s for reading in taken) for name, taken in readings.items()}
    costs = {name: median([reading.cpu_us for reading in taken]) for name, taken in readings.items()}
    plain, beats, by_machine = (median(rates[name]) for name in (ECHO, AGENT, MACHINE))
    return (
        Row(
            what=f"beats one by one, {AGENTS} connections, token and Host check on",
            figure=beats,
            unit="requests/s",
            beside=Beside("a bare ASGI echo", plain),
            goal=Goal(">=", 0.6, "ratio"),
            samples=rates[AGENT],
        ),
        Row(
            what="the server's CPU time for one of those",
            figure=costs[AGENT],
            unit="us",
            beside=Beside("a bare ASGI echo", costs[ECHO]),
        ),
        Row(
            what=f"beats of daemons with {AGENTS_PER_MACHINE} agents each, {MACHINES} connections",
            figure=by_machine,
            unit="requests/s",
            samples=rates[MACHINE],
        ),
        Row(
            what="leases renewed by those",
            figure=by_machine * AGENTS_PER_MACHINE,
            unit="leases/s",
            beside=Beside("beats one by one", beats),
            goal=Goal(">=", 500_000),
        ),
        Row(
            what="the server's CPU time for one lease so renewed",
            figure=costs[MACHINE] / AGENTS_PER_MACHINE,
            unit="us",
            beside=Beside("a beat by itself", costs[AGENT]),
        ),
    )


def notes_of(readings: dict[str, list[Reading]]) -> tuple[str, ...]:
    """Notes below the table: how many answers were checked, and how reliable the figures are."""
    outcomes = [reading.outcome for name in (AGENT, MACHINE) for reading in readings[name]]
    echoes = [reading.outcome.per_s for reading in readings[ECHO]]
    busiest = max(reading.outcome.client_share for taken in readings.values() for reading in taken)
    return (
        f"{sum(outcome.answers for outcome in outcomes):,} beats were answered `ok`, and "
        f"{sum(outcome.sampled for outcome in outcomes):,} of the answers were decoded and checked as a whole",
        f"the load client used at most {busiest:.2f} of a core",
        f"the echo ranged from {min(echoes):,.0f} to {max(echoes):,.0f} requests/s between rounds",
    )


def prepare(greenroom: House, echo_pid: int, echo_port: int) -> dict[str, Subject]:
    """Join all agents, and encode the requests that they will send."""
    seats = seat_agents(greenroom, AGENTS)
    machines = seat_machines(greenroom, MACHINES, AGENTS_PER_MACHINE)
    singles = tuple(spell_agent_beat(greenroom, seat) for seat in seats)
    daemons = tuple(spell_machine_beat(greenroom, name, held) for name, held in machines.items())
    beats = Round(greenroom.port, singles, OK, 1, AGENT, ROUND_S)
    by_machine = Round(greenroom.port, daemons, OK, AGENTS_PER_MACHINE + 1, MACHINE, ROUND_S)
    return {
        ECHO: Subject(echo_pid, Round(echo_port, singles, b'"connection_id"', 1, ECHO, ROUND_S)),
        AGENT: Subject(greenroom.pid, beats),
        MACHINE: Subject(greenroom.pid, by_machine),
    }


def take(client: "subprocess.Popen[bytes]", name: str, subject: Subject) -> Reading:
    """Have the client run one round. A wrong answer raises `RuntimeError`: a rate of wrong answers means nothing."""
    assert client.stdin is not None
    assert client.stdout is not None
    before_s = cpu_s(subject.pid)
    client.stdin.write(msgspec.json.encode(subject.round) + b"\n")
    client.stdin.flush()
    outcome = msgspec.json.decode(client.stdout.readline(), type=Outcome)
    if outcome.wrong:
        raise RuntimeError(f"wrong answers in the round {name!r}, the first: {outcome.wrong[0]}")
    return Reading(outcome, 1e6 * (cpu_s(subject.pid) - before_s) / outcome.answers)


def cpu_s(pid: int) -> float:
    """CPU time in seconds that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextmanager
def load_client() -> Iterator["subprocess.Popen[bytes]"]:
    """The process of the load client, which exits when its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process


@contextmanager
def echo() -> Iterator[tuple[int, int]]:
    """Process id and port of an app that only echoes."""
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder,
        stopped_at_end([sys.executable, "-m", "bench.echo"], environment(Path(folder))) as process,
    ):
        yield process.pid, int(address_of(process).rpartition(":")[2])
