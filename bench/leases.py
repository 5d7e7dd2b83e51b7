"""Memory and sweep of very many leases. Knows which sizes are asked for; must not know how a table is filled."""

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
    """What that many leases cost, as a fresh process finds it."""
    command = [sys.executable, "-m", "bench.crowd", str(count)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return msgspec.json.decode(output, type=Crowd)


def memory(found: Crowd) -> Row:
    """The row of a table's size."""
    figure = found.bytes_per_lease * found.count / MEBIBYTE
    goal = Goal("<=", MEBIBYTES_MAX) if found.count == COUNTS[-1] else None
    return Row(what=f"memory of {found.count:,} leases", figure=figure, unit="MiB", goal=goal)


def swept(found: Crowd) -> list[Row]:
    """The rows of what the sweep does to beats, beside what the machine does to them when nothing sweeps."""
    beside = Beside("without a sweep", found.still.wait_ms)
    phases = [
        ("nobody is due", found.healthy),
        (f"1 in {SILENT_OF} is due", found.silent),
        ("all are looked at in one round", found.restarted),
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
    """What does not fit a table."""
    return (
        f"{found.count:,} leases take {found.bytes_per_lease:.0f} bytes each; a whole round of the sweep is "
        f"{found.healthy.round_ms:.1f} ms of work when nobody is due, {found.silent.round_ms:.1f} ms while 1 in "
        f"{SILENT_OF} is (the last of whom is recorded after {found.silent.seconds:.1f} s), and "
        f"{found.restarted.round_ms:.0f} ms when all are looked at"
    )
