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

from bench import beats, dispatch, fleet, history, leases, recovery, serving, tasks, waiting, writes
from bench.machine import Machine, Neighbours, look
from bench.peers import comparison
from bench.table import Piece, draw

PIECES: Final[dict[str, Callable[[], Piece]]] = {
    "beats": beats.measure,
    "dispatch": dispatch.measure,
    "tasks": tasks.measure,
    "history": history.measure,
    "writes": writes.measure,
    "leases": leases.measure,
    "waiting": waiting.measure,
    "serving": serving.measure,
    "fleet": fleet.measure,
    "recovery": recovery.measure,
    "peers": comparison.measure,
}
FAILED: Final = 1


def main() -> int:
    """Measure and print the tables; the exit code is 1 if a benchmark could not be measured."""
    arguments = parse()
    # SIGTERM is handled like Ctrl-C, so that every process that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine = look(Path(tempfile.gettempdir()))
    print(f"{machine}\n", file=sys.stderr)
    neighbours, began_at, before = Neighbours(), time.monotonic(), os.getloadavg()[0]
    pieces = {name: piece for name in arguments.only if (piece := run(name)) is not None}
    noise = (
        f"took {time.monotonic() - began_at:.0f} s; the load was {before:.1f} at the start, and other processes used "
        f"{neighbours.share():.0%} of the machine's cores during the run"
    )
    print(draw(row for piece in pieces.values() for row in piece.rows))
    for grid in (piece.grid for piece in pieces.values() if piece.grid is not None):
        print(f"\n{grid}")
    print(f"\n{machine}; {noise}.\n")
    print("\n".join(f"- {name}: {note}." for name, piece in pieces.items() for note in piece.notes))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(document(machine, noise, pieces))))
    return 0 if len(pieces) == len(arguments.only) else FAILED


def run(name: str) -> Piece | None:
    """Run one benchmark; None, and the traceback on stderr, if it failed."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        return PIECES[name]()
    except Exception:
        traceback.print_exc()
        print(f"{name} could not be measured; continuing with the others.", file=sys.stderr)
        return None


def document(machine: Machine, noise: str, pieces: dict[str, Piece]) -> dict[str, Any]:
    """The document that --json writes: the rows with their ratio and whether the goal is met, notes and grids."""
    rows = [
        msgspec.to_builtins(row) | {"piece": name, "ratio": row.ratio, "is_met": row.is_met}
        for name, piece in pieces.items()
        for row in piece.rows
    ]
    notes = {name: piece.notes for name, piece in pieces.items()}
    grids = {name: piece.grid for name, piece in pieces.items() if piece.grid is not None}
    return {"machine": machine, "noise": noise, "rows": rows, "notes": notes, "grids": grids}


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Greenroom on this machine.")
    known = ", ".join(PIECES)
    parser.add_argument(
        "--only", metavar="PIECE,...", type=names, default=list(PIECES), help=f"what to measure: {known}"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write all figures with their samples to FILE")
    return parser.parse_args()


def names(text: str) -> list[str]:
    """Parse the names of benchmarks; an unknown one raises `ArgumentTypeError`."""
    named = [name.strip() for name in text.split(",")]
    unknown = [name for name in named if name not in PIECES]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(PIECES)}")
    return named


if __name__ == "__main__":
    sys.exit(main())
