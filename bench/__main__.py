"""`python -m bench`: runs all benchmarks, or those named by `--only`, and prints their tables as Markdown."""

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import dispatch, fleet, heartbeats, history, leases, recovery, server_start, tasks, wait_command, writes
from bench.machine import MachineInfo, OtherProcesses, describe_machine
from bench.peers import comparison
from bench.table import BenchmarkResult, draw_rows

BENCHMARKS: Final[dict[str, Callable[[], BenchmarkResult]]] = {
    "beats": heartbeats.measure,
    "dispatch": dispatch.measure,
    "tasks": tasks.measure,
    "history": history.measure,
    "writes": writes.measure,
    "leases": leases.measure,
    "waiting": wait_command.measure,
    "serving": server_start.measure,
    "fleet": fleet.measure,
    "recovery": recovery.measure,
    "peers": comparison.measure,
}
EXIT_FAILED: Final = 1


def main() -> int:
    """Measure and print the tables; the exit code is 1 if a benchmark could not be measured."""
    arguments = parse_arguments()
    # SIGTERM is handled like Ctrl-C, so that every process that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine = describe_machine(Path(tempfile.gettempdir()))
    print(f"{machine}\n", file=sys.stderr)
    neighbours, began_at, before = OtherProcesses(), time.monotonic(), os.getloadavg()[0]
    pieces = {name: piece for name in arguments.only if (piece := run_benchmark(name)) is not None}
    noise = (
        f"took {time.monotonic() - began_at:.0f} s; the load was {before:.1f} at the start, and other processes used "
        f"{neighbours.cpu_share():.0%} of the machine's cores during the run"
    )
    print(draw_rows(row for piece in pieces.values() for row in piece.rows))
    for grid in (piece.systems for piece in pieces.values() if piece.systems is not None):
        print(f"\n{grid}")
    print(f"\n{machine}; {noise}.\n")
    print("\n".join(f"- {name}: {note}." for name, piece in pieces.items() for note in piece.notes))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(build_document(machine, noise, pieces))))
    return 0 if len(pieces) == len(arguments.only) else EXIT_FAILED


def run_benchmark(name: str) -> BenchmarkResult | None:
    """Run one benchmark; None, and the traceback on stderr, if it failed."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        return BENCHMARKS[name]()
    except Exception:
        traceback.print_exc()
        print(f"{name} could not be measured; continuing with the others.", file=sys.stderr)
        return None


def build_document(machine: MachineInfo, noise: str, pieces: dict[str, BenchmarkResult]) -> dict[str, Any]:
    """The document that --json writes: the rows with their ratio and whether the goal is met, notes and grids."""
    rows = [
        msgspec.to_builtins(row) | {"piece": name, "ratio": row.ratio, "is_met": row.is_met}
        for name, piece in pieces.items()
        for row in piece.rows
    ]
    notes = {name: piece.notes for name, piece in pieces.items()}
    grids = {name: piece.systems for name, piece in pieces.items() if piece.systems is not None}
    return {"machine": machine, "noise": noise, "rows": rows, "notes": notes, "grids": grids}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Greenroom on this machine.")
    known = ", ".join(BENCHMARKS)
    parser.add_argument(
        "--only", metavar="PIECE,...", type=parse_names, default=list(BENCHMARKS), help=f"what to measure: {known}"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write all figures with their samples to FILE")
    return parser.parse_args()


def parse_names(text: str) -> list[str]:
    """Parse the names of benchmarks; an unknown one raises `ArgumentTypeError`."""
    named = [name.strip() for name in text.split(",")]
    unknown = [name for name in named if name not in BENCHMARKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    return named


if __name__ == "__main__":
    sys.exit(main())
