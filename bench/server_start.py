"""Measures the server itself: the time until it is ready, and its memory without work."""

import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

import psutil

from bench.sample import median
from bench.server_process import seconds_since, start_server
from bench.table import BenchmarkResult, Comparison, Row
from bench.wait_command import time_bare

TIMES: Final = 5
MEBIBYTE: Final = 2**20
TIMEOUT_S: Final = 10.0


def measure() -> BenchmarkResult:
    """Time its start with an empty data directory until /readyz answers, in turn with a bare Python."""
    starts: list[float] = []
    weights: list[float] = []
    bare: list[float] = []
    for _ in range(TIMES):
        with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
            bare.append(time_bare(Path(folder)))
            began_at = time.perf_counter()
            with start_server(Path(folder) / "state") as (process, url):
                with urllib.request.urlopen(f"{url}/readyz", timeout=TIMEOUT_S) as answer:
                    answer.read()
                starts.append(seconds_since(began_at))
                weights.append(psutil.Process(process.pid).memory_info().rss / MEBIBYTE)
    rows = (
        Row(
            label="start of the server, exec to ready, empty data directory",
            figure=1e3 * median(starts),
            unit="ms",
            comparison=Comparison("`python -c pass`, exec to exit", 1e3 * median(bare)),
            samples=tuple(starts),
        ),
        Row(
            label="memory of a server without work (VmRSS)", figure=median(weights), unit="MiB", samples=tuple(weights)
        ),
    )
    return BenchmarkResult(rows)
