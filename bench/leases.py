"""Measures memory and sweep of 100,000 and of 1,000,000 leases, each in a fresh process (`bench.lease_sweep`)."""

import subprocess
import sys
from typing import Final

import msgspec

from bench.lease_sweep import ONE_SILENT_IN, LeaseFigures
from bench.table import BenchmarkResult, Comparison, Goal, Row

COUNTS: Final = (100_000, 1_000_000)
MEBIBYTES_MAX: Final = 300
SWEEP_PART_MS_MAX: Final = 5
MEBIBYTE: Final = 2**20


def measure() -> BenchmarkResult:
    """Measure each size in a process of its own."""
    rows: list[Row] = []
    notes: list[str] = []
    for count in COUNTS:
        found = measure_leases(count)
        rows += [memory_row(found), *sweep_rows(found)]
        notes.append(format_note(found))
    return BenchmarkResult(tuple(rows), tuple(notes))


def measure_leases(count: int) -> LeaseFigures:
    """Measure `count` leases in a fresh process."""
    command = [sys.executable, "-m", "bench.lease_sweep", str(count)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return msgspec.json.decode(output, type=LeaseFigures)


def memory_row(found: LeaseFigures) -> Row:
    """The row for the memory of a lease table."""
    figure = found.bytes_per_lease * found.count / MEBIBYTE
    goal = Goal("<=", MEBIBYTES_MAX) if found.count == COUNTS[-1] else None
    return Row(label=f"memory of {found.count:,} leases", figure=figure, unit="MiB", goal=goal)


def sweep_rows(found: LeaseFigures) -> list[Row]:
    """The rows for how long the sweep delays beats, compared with the delay on this machine without a sweep."""
    beside = Comparison("without a sweep", found.without_sweep.wait_ms)
    phases = [
        ("no lease is due", found.healthy),
        (f"1 in {ONE_SILENT_IN} is due", found.silent),
        ("all leases are examined in one round", found.restarted),
    ]
    part = Row(
        label=f"sweep of {found.count:,} leases: longest work at a stretch, CPU time",
        figure=max(phase.part_ms for _, phase in phases),
        unit="ms",
        goal=Goal("<=", SWEEP_PART_MS_MAX),
    )
    waits = [
        Row(
            label=f"sweep of {found.count:,} leases, {when}: longest wait of a beat",
            figure=phase.wait_ms,
            unit="ms",
            comparison=beside,
        )
        for when, phase in phases
    ]
    return [part, *waits]


def format_note(found: LeaseFigures) -> str:
    """The note below the table: bytes of a lease, and the CPU time of a whole round."""
    return (
        f"{found.count:,} leases take {found.bytes_per_lease:.0f} bytes each; a whole round of the sweep is "
        f"{found.healthy.round_ms:.1f} ms of work when no lease is due, {found.silent.round_ms:.1f} ms while 1 in "
        f"{ONE_SILENT_IN} is (the last expiry is recorded after {found.silent.seconds:.1f} s), and "
        f"{found.restarted.round_ms:.0f} ms when all are examined"
    )
