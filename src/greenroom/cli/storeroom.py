"""Checks of `greenroom doctor` on the data directory: sizes, unsent reports, runs without a daemon. Read-only."""

from collections.abc import Iterator, Sequence

from greenroom.cli.amounts import duration, size
from greenroom.cli.examination import OK, WARNING, Finding
from greenroom.daemon.run import NotedRun
from greenroom.domain.reliability import variable_of
from greenroom.lock import holder_of
from greenroom.settings import paths
from greenroom.settings.resolve import Settings
from greenroom.settings.volume import size_of

STORE_BYTES_MANY = 1 << 30
CLAIMS_BYTES_MANY = 64 << 20
TOLD_WITHIN_S = 60.0
"""Seconds by which a daemon that reaches its server has sent a report."""


def examine_sizes(settings: Settings) -> Iterator[Finding]:
    """Compare the sizes of the data directory's parts with their limits."""
    folder, limits = settings.data_dir, settings.limits
    store = sum(size_of(path) for path in folder.glob(f"{paths.database(folder).name}*"))
    if store and settings.database is None:
        old_data = "Close and delete unused rooms (greenroom room delete NAME). Old data is deleted by itself."
        yield weigh("store", store, STORE_BYTES_MANY, "", old_data)
    logs, runs = size_of(paths.logs(folder)), size_of(paths.runs(folder))
    yield weigh(
        "logs",
        logs,
        limits.run_logs_bytes_max,
        f" of {size(limits.run_logs_bytes_max)} allowed for finished runs ({variable_of('run_logs_bytes_max')})",
        "The next run deletes the oldest logs by itself; a lower limit keeps less.",
    )
    yield Finding(what="runs", level=OK, detail=f"{size(runs)} in records of runs whose exit is not reported yet")
    claims = size_of(folder / "claims") + size_of(folder / "sittings")
    old_files = "The next wait-for-task of a role deletes its old files. Those of servers that are gone may be deleted."
    yield weigh("claims", claims, CLAIMS_BYTES_MANY, " in claim and connection files of agents", old_files)


def weigh(what: str, count: int, bytes_max: int, suffix: str, guidance: str) -> Finding:
    is_much = count > bytes_max
    detail = f"{size(count)}{suffix}"
    return Finding(what=what, level=WARNING if is_much else OK, detail=detail, next=guidance if is_much else None)


def examine_outbox(settings: Settings, facts_at: Sequence[float], now: float) -> Iterator[Finding]:
    """Check for reports that the server does not have yet. `facts_at` are the wall-clock seconds of their writing."""
    if not facts_at:
        yield Finding(what="outbox", level=OK, detail="empty")
        return
    old_s = max(0.0, now - min(facts_at))
    count = f"{len(facts_at)} unsent {'report' if len(facts_at) == 1 else 'reports'}"
    capacity = f"{size(size_of(paths.outbox(settings.data_dir)))}; at most {settings.limits.facts_waiting_max} are kept"
    detail = f"{count}, the oldest from {duration(old_s)} ago ({capacity})"
    if holder_of(paths.daemon_lock(settings.data_dir))[0] is None:
        yield Finding(what="outbox", level=WARNING, detail=detail, next="greenroom daemon start sends them")
    elif old_s > TOLD_WITHIN_S:
        guidance = f"The daemon sends them as soon as it reaches {settings.url}: check that this server runs."
        yield Finding(what="outbox", level=WARNING, detail=detail, next=guidance)
    else:
        yield Finding(what="outbox", level=OK, detail=detail)


def examine_runs(settings: Settings, runs: Sequence[NotedRun], now: float) -> Iterator[Finding]:
    """Check that a daemon runs; without one, list the runs that an earlier daemon left."""
    daemon, _ = holder_of(paths.daemon_lock(settings.data_dir))
    if daemon is not None:
        detail = f"process {daemon} runs this machine's agents; runs in progress: {len(runs)}"
        yield Finding(what="daemon", level=OK, detail=detail)
        return
    for run in runs:
        yield finding_of(run, now)
    if not runs:
        yield Finding(what="processes", level=OK, detail="no daemon is running, and no earlier daemon left a run")


def finding_of(run: NotedRun, now: float) -> Finding:
    """The state of a run without a daemon, and what the next daemon does with it."""
    is_resident = run.task is None
    name = f"{run.seat}: " + ("resident" if is_resident else f"{run.task} (attempt {run.attempt})")
    if run.process is not None:
        started = f", started {duration(now - run.began_at)} ago" if run.began_at else ""
        detail = f"{name} runs without a daemon{started} (process {run.process})"
        action = "adopts it" if is_resident else "adopts it and reports its result"
    elif run.ended is not None:
        detail = f"{name} exited without a daemon ({run.ended})"
        action = "reports it and starts a new one" if is_resident else "reports its result"
    else:
        detail = f"{name} was killed; its exit status is unknown"
        action = "reports it and starts a new one" if is_resident else "reports it, and the server retries the task"
    return Finding(what="processes", level=WARNING, detail=detail, next=f"greenroom daemon start {action}")
