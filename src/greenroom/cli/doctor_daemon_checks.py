"""Checks of `greenroom doctor` on this machine: its data directory, its id, its harnesses and installed agent CLIs.

The data directory is checked for its size, unsent reports and runs without a daemon. The checks only read; they run
none of the agent CLIs.
"""

from collections.abc import Iterator, Mapping, Sequence

from greenroom.cli.doctor_checks import OK, WARNING, Finding
from greenroom.cli.terminal import format_duration, format_size
from greenroom.daemon.run import MachineIdentity, RecordedRun
from greenroom.domain.limits import variable_name
from greenroom.file_lock import read_holder
from greenroom.process.agent_clis import FoundAgentCli, filter_unused
from greenroom.process.command import find_program_error
from greenroom.settings import paths
from greenroom.settings.files import disk_usage
from greenroom.settings.resolve import Settings

STORE_BYTES_WARN = 1 << 30
CLAIMS_BYTES_WARN = 64 << 20
SENT_WITHIN_S = 60.0
"""Seconds by which a daemon that reaches its server has sent a report."""


def check_sizes(settings: Settings) -> Iterator[Finding]:
    """Compare the sizes of the data directory's parts with their limits."""
    folder, limits = settings.data_dir, settings.limits
    store = sum(disk_usage(path) for path in folder.glob(f"{paths.database(folder).name}*"))
    if store and settings.database is None:
        old_data = "Close and delete unused rooms (greenroom room delete NAME). Old data is deleted by itself."
        yield size_finding("store", store, STORE_BYTES_WARN, "", old_data)
    logs, runs = disk_usage(paths.logs(folder)), disk_usage(paths.runs(folder))
    yield size_finding(
        "logs",
        logs,
        limits.run_logs_bytes_max,
        f" of {format_size(limits.run_logs_bytes_max)} allowed for finished runs"
        f" ({variable_name('run_logs_bytes_max')})",
        "The next run deletes the oldest logs by itself; a lower limit keeps less.",
    )
    yield Finding(
        what="runs", level=OK, detail=f"{format_size(runs)} in records of runs whose exit is not reported yet"
    )
    claims = disk_usage(paths.all_claims(folder)) + disk_usage(paths.all_connections(folder))
    old_files = "The next wait-for-task of a role deletes its old files. Those of servers that are gone may be deleted."
    yield size_finding("claims", claims, CLAIMS_BYTES_WARN, " in claim and connection files of agents", old_files)


def size_finding(what: str, count: int, bytes_max: int, suffix: str, guidance: str) -> Finding:
    is_much = count > bytes_max
    detail = f"{format_size(count)}{suffix}"
    return Finding(what=what, level=WARNING if is_much else OK, detail=detail, next=guidance if is_much else None)


def check_outbox(settings: Settings, reports_at: Sequence[float], now: float) -> Iterator[Finding]:
    """Check for reports that the server does not have yet. `reports_at` are the wall-clock seconds of their writing."""
    if not reports_at:
        yield Finding(what="outbox", level=OK, detail="empty")
        return
    old_s = max(0.0, now - min(reports_at))
    count = f"{len(reports_at)} unsent {'report' if len(reports_at) == 1 else 'reports'}"
    size = format_size(disk_usage(paths.outbox(settings.data_dir)))
    capacity = f"{size}; at most {settings.limits.reports_waiting_max} are kept"
    detail = f"{count}, the oldest from {format_duration(old_s)} ago ({capacity})"
    if read_holder(paths.daemon_lock(settings.data_dir))[0] is None:
        yield Finding(what="outbox", level=WARNING, detail=detail, next="greenroom daemon start sends them")
    elif old_s > SENT_WITHIN_S:
        guidance = f"The daemon sends them as soon as it reaches {settings.url}: check that this server runs."
        yield Finding(what="outbox", level=WARNING, detail=detail, next=guidance)
    else:
        yield Finding(what="outbox", level=OK, detail=detail)


def check_runs(settings: Settings, runs: Sequence[RecordedRun], now: float) -> Iterator[Finding]:
    """Check that a daemon runs; without one, list the runs that an earlier daemon left."""
    daemon, _ = read_holder(paths.daemon_lock(settings.data_dir))
    if daemon is not None:
        detail = f"process {daemon} runs this machine's agents; runs in progress: {len(runs)}"
        yield Finding(what="daemon", level=OK, detail=detail)
        return
    for run in runs:
        yield run_finding(run, now)
    if not runs:
        yield Finding(what="processes", level=OK, detail="no daemon is running, and no earlier daemon left a run")


def run_finding(run: RecordedRun, now: float) -> Finding:
    """The state of a run without a daemon, and what the next daemon does with it."""
    is_resident = run.task is None
    name = f"{run.role_path}: " + ("resident" if is_resident else f"{run.task} (attempt {run.attempt})")
    if run.process is not None:
        started = f", started {format_duration(now - run.began_at)} ago" if run.began_at else ""
        detail = f"{name} runs without a daemon{started} (process {run.process})"
        action = "adopts it" if is_resident else "adopts it and reports its result"
    elif run.ended is not None:
        detail = f"{name} exited without a daemon ({run.ended})"
        action = "reports it and starts a new one" if is_resident else "reports its result"
    else:
        detail = f"{name} was killed; its exit status is unknown"
        action = "reports it and starts a new one" if is_resident else "reports it, and the server retries the task"
    return Finding(what="processes", level=WARNING, detail=detail, next=f"greenroom daemon start {action}")


def check_machine(settings: Settings, machine: MachineIdentity | None) -> Iterator[Finding]:
    """Check the id by which the server recognises this machine."""
    path = paths.machine(settings.data_dir)
    if machine is not None:
        detail = f"{machine.name} (id {machine.id}); a copy of {path} on another machine would count as this machine"
        yield Finding(what="machine", level=OK, detail=detail)
    elif path.exists():
        guidance = f"Restore {path}, or remove it: this machine then registers as a new one."
        yield Finding(what="machine", level=WARNING, detail=f"{path} has no valid machine id", next=guidance)
    else:
        detail = "it has no id yet; the first greenroom daemon start creates one"
        yield Finding(what="machine", level=OK, detail=detail)


def check_harnesses(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check that the programs of the configured harnesses are installed."""
    harnesses = settings.harnesses()
    missing = 0
    for name, harness in sorted(harnesses.items()):
        error = find_program_error(harness.command, harness.env, environ)
        if error is not None:
            missing += 1
            yield Finding(what=f"harness {name}", level=WARNING, detail=error.detail, next=error.guidance)
    if not harnesses:
        detail = "none is configured; this machine's daemon cannot run agents yet"
        yield Finding(what="harnesses", level=OK, detail=detail)
    elif not missing:
        yield Finding(what="harnesses", level=OK, detail=f"{', '.join(sorted(harnesses))}: all programs found")


def check_clis(settings: Settings, clis: Sequence[FoundAgentCli]) -> Iterator[Finding]:
    """List installed agent CLIs that no harness runs, each with the lines that configure a harness for it."""
    for cli in filter_unused(clis, [harness.command for harness in settings.harnesses().values()]):
        where = settings.project.path if settings.project is not None else "greenroom.toml, or the user's config"
        snippet = cli.snippet.rstrip().replace("\n", "\n            ")
        detail = f"{cli.name} is installed ({cli.path}), but no harness runs it"
        yield Finding(what="agents", level=OK, detail=detail, next=f"To run it, add to {where}:\n            {snippet}")
