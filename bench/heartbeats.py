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

from bench.joined_agents import encode_agent_beat, encode_machine_beat, join_agents, join_machines
from bench.load import AGENT, ECHO, MACHINE, Round, RoundOutcome
from bench.sample import median
from bench.server_process import RunningServer, clean_environment, read_address, run_process, run_server
from bench.table import BenchmarkResult, Comparison, Goal, Row

AGENTS: Final = 64
MACHINES: Final = 8
AGENTS_PER_MACHINE: Final = 100
ROUNDS: Final = 9
ROUND_S: Final = 1.0
OK: Final = b'"status":"ok"'


class MeasuredServer(msgspec.Struct, frozen=True):
    """One round of requests, and the process that answers them."""

    pid: int
    round: Round


class RoundReading(msgspec.Struct, frozen=True):
    """One round's outcome, and the server's CPU time for each answer, in microseconds."""

    outcome: RoundOutcome
    cpu_us: float


def measure() -> BenchmarkResult:
    """Run echo, single beats and machines' beats in turn, so that other load on the machine affects all alike."""
    with run_server() as greenroom, start_echo() as (echo_pid, echo_port), start_load_client() as client:
        subjects = prepare_rounds(greenroom, echo_pid, echo_port)
        readings: dict[str, list[RoundReading]] = {name: [] for name in subjects}
        for _ in range(ROUNDS):
            for name, subject in subjects.items():
                readings[name].append(run_round(client, name, subject))
    return BenchmarkResult(build_rows(readings), build_notes(readings))


def build_rows(readings: dict[str, list[RoundReading]]) -> tuple[Row, ...]:
    """The rows of the table."""
    rates = {name: tuple(reading.outcome.per_s for reading in taken) for name, taken in readings.items()}
    costs = {name: median([reading.cpu_us for reading in taken]) for name, taken in readings.items()}
    plain, beats, by_machine = (median(rates[name]) for name in (ECHO, AGENT, MACHINE))
    return (
        Row(
            label=f"beats one by one, {AGENTS} connections, token and Host check on",
            figure=beats,
            unit="requests/s",
            comparison=Comparison("a bare ASGI echo", plain),
            goal=Goal(">=", 0.6, "ratio"),
            samples=rates[AGENT],
        ),
        Row(
            label="the server's CPU time for one of those",
            figure=costs[AGENT],
            unit="us",
            comparison=Comparison("a bare ASGI echo", costs[ECHO]),
        ),
        Row(
            label=f"beats of daemons with {AGENTS_PER_MACHINE} agents each, {MACHINES} connections",
            figure=by_machine,
            unit="requests/s",
            samples=rates[MACHINE],
        ),
        Row(
            label="leases renewed by those",
            figure=by_machine * AGENTS_PER_MACHINE,
            unit="leases/s",
            comparison=Comparison("beats one by one", beats),
            goal=Goal(">=", 500_000),
        ),
        Row(
            label="the server's CPU time for one lease so renewed",
            figure=costs[MACHINE] / AGENTS_PER_MACHINE,
            unit="us",
            comparison=Comparison("a beat by itself", costs[AGENT]),
        ),
    )


def build_notes(readings: dict[str, list[RoundReading]]) -> tuple[str, ...]:
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


def prepare_rounds(greenroom: RunningServer, echo_pid: int, echo_port: int) -> dict[str, MeasuredServer]:
    """Join all agents, and encode the requests that they will send."""
    seats = join_agents(greenroom, AGENTS)
    machines = join_machines(greenroom, MACHINES, AGENTS_PER_MACHINE)
    singles = tuple(encode_agent_beat(greenroom, seat) for seat in seats)
    daemons = tuple(encode_machine_beat(greenroom, name, held) for name, held in machines.items())
    beats = Round(greenroom.port, singles, OK, 1, AGENT, ROUND_S)
    by_machine = Round(greenroom.port, daemons, OK, AGENTS_PER_MACHINE + 1, MACHINE, ROUND_S)
    return {
        ECHO: MeasuredServer(echo_pid, Round(echo_port, singles, b'"connection_id"', 1, ECHO, ROUND_S)),
        AGENT: MeasuredServer(greenroom.pid, beats),
        MACHINE: MeasuredServer(greenroom.pid, by_machine),
    }


def run_round(client: "subprocess.Popen[bytes]", name: str, subject: MeasuredServer) -> RoundReading:
    """Have the client run one round. A wrong answer raises `RuntimeError`: a rate of wrong answers means nothing."""
    assert client.stdin is not None
    assert client.stdout is not None
    before_s = read_cpu_s(subject.pid)
    client.stdin.write(msgspec.json.encode(subject.round) + b"\n")
    client.stdin.flush()
    outcome = msgspec.json.decode(client.stdout.readline(), type=RoundOutcome)
    if outcome.wrong:
        raise RuntimeError(f"wrong answers in the round {name!r}, the first: {outcome.wrong[0]}")
    return RoundReading(outcome, 1e6 * (read_cpu_s(subject.pid) - before_s) / outcome.answers)


def read_cpu_s(pid: int) -> float:
    """CPU time in seconds that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextmanager
def start_load_client() -> Iterator["subprocess.Popen[bytes]"]:
    """The process of the load client, which exits when its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process


@contextmanager
def start_echo() -> Iterator[tuple[int, int]]:
    """Process id and port of an app that only echoes."""
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder,
        run_process([sys.executable, "-m", "bench.echo"], clean_environment(Path(folder))) as process,
    ):
        yield process.pid, int(read_address(process).rpartition(":")[2])
