"""Measures memory and sweep of 100,000 and of 1,000,000 leases, each in a fresh process (`bench.crowd`)."""

import subprocess
import sys
from typing import Final

import msgspec

from bench.crowd import SILENT_OF, Crowd
from bench.table import Beside, Goal, Piece, Row

COUNTS: Final = (100_000, 1_000_000)
MEBIBYTES_MAX: Final = 300
PART_MS_MAX: Final = 5
MEBIBYTE: Final = 2**20


def measure() -> Piece:
    """Measure each size in a process of its own."""
    rows: list[Row] = []
    notes: list[str] = []
    for count in COUNTS:
        found = crowd(count)
        rows += [memory(found), *swept(found)]
        notes.append(told(found))
    return Piece(tuple(rows), tuple(notes))


def crowd(count: int) -> Crowd:
    """Measure `count` leases in a fresh process."""
    command = [sys.executable, "-m", "bench.crowd", str(count)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return msgspec.json.decode(output, type=Crowd)


def memory(found: Crowd) -> Row:
    """The row for the memory of a lease table."""
    figure = found.bytes_per_lease * found.count / MEBIBYTE
    goal = Goal("<=", MEBIBYTES_MAX) if found.count == COUNTS[-1] else None
    return Row(what=f"memory of {found.count:,} leases", figure=figure, unit="MiB", goal=goal)


def swept(found: Crowd) -> list[Row]:
    """The rows for how long the sweep delays beats, compared with the delay on this machine without a sweep."""
    beside = Beside("without a sweep", found.still.wait_ms)
    phases = [
        ("no lease is due", found.healthy),
        (f"1 in {SILENT_OF} is due", found.silent),
        ("all leases are examined in one round", found.restarted),
    ]
    part = Row(
        what=f"sweep of {found.count:,} leases: longest work at a stretch, CPU time",
        figure=max(phase.part_ms for _, phase in phases),
        unit="ms",
        goal=Goal("<=", PART_MS_MAX),
    )
    waits = [
        Row(
            what=f"sweep of {found.count:,} leases, {when}: longest wait of a beat",
            figure=phase.wait_ms,
            unit="ms",
            beside=beside,
        )
        for when, phase in phases
    ]
    return [part, *waits]


def told(found: Crowd) -> str:
    """The note below the table: bytes of a lease, and the CPU time of a whole round."""
    return (
        f"{found.count:,} leases take {found.bytes_per_lease:.0f} bytes each; a whole round of the sweep is "
        f"{found.healthy.round_ms:.1f} ms of work when no lease is due, {found.silent.round_ms:.1f} ms while 1 in "
        f"{SILENT_OF} is (the last expiry is recorded after {found.silent.seconds:.1f} s), and "
        f"{found.restarted.round_ms:.0f} ms when all are examined"
    )
