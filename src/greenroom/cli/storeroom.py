"""What `greenroom doctor` finds in the data directory: sizes, untold facts, runs left. Must not change any of it."""

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
"""A daemon that reaches its server has told a fact long before that."""


def examine_sizes(settings: Settings) -> Iterator[Finding]:
    """How much the parts of the data directory take, against what they may."""
    folder, limits = settings.data_dir, settings.limits
    store = sum(size_of(path) for path in folder.glob(f"{paths.database(folder).name}*"))
    if store and settings.database is None:
        forget = "Close and delete rooms that are over (greenroom room delete NAME); what is old goes by itself."
        yield weigh("store", store, STORE_BYTES_MANY, "", forget)
    logs, runs = size_of(paths.logs(folder)), size_of(paths.runs(folder))
    yield weigh(
        "logs",
        logs,
        limits.run_logs_bytes_max,
        f" of {size(limits.run_logs_bytes_max)} that finished runs may take ({variable_of('run_logs_bytes_max')})",
        "The next run makes room by itself, the oldest first; a lower limit keeps less.",
    )
    yield Finding(what="runs", level=OK, detail=f"{size(runs)} of notes on runs whose end is not told yet")
    claims = size_of(folder / "claims") + size_of(folder / "sittings")
    waste = "Each role's next wait-for-task clears its old ones away; those of servers that are gone may be removed."
    yield weigh("claims", claims, CLAIMS_BYTES_MANY, " of agents' claims and sittings", waste)


def weigh(what: str, count: int, many: int, said: str, then: str) -> Finding:
    is_much = count > many
    detail = f"{size(count)}{said}"
    return Finding(what=what, level=WARNING if is_much else OK, detail=detail, next=then if is_much else None)


def examine_outbox(settings: Settings, facts_at: Sequence[float], now: float) -> Iterator[Finding]:
    """What the daemon saw and could not tell the server yet; each fact was written at a second of the wall clock."""
    if not facts_at:
        yield Finding(what="facts", level=OK, detail="the server was told everything that this machine's daemon saw")
        return
    old_s = max(0.0, now - min(facts_at))
    count = f"{len(facts_at)} {'fact' if len(facts_at) == 1 else 'facts'}"
    room = f"{size(size_of(paths.outbox(settings.data_dir)))}; at most {settings.limits.facts_waiting_max} may wait"
    detail = f"{count} still to be told, the oldest for {duration(old_s)} ({room})"
    if holder_of(paths.daemon_lock(settings.data_dir))[0] is None:
        yield Finding(what="facts", level=WARNING, detail=detail, next="greenroom daemon start tells them")
    elif old_s > TOLD_WITHIN_S:
        told = f"The daemon tells them as soon as it reaches {settings.url}: see whether that server runs."
        yield Finding(what="facts", level=WARNING, detail=detail, next=told)
    else:
        yield Finding(what="facts", level=OK, detail=detail)


def examine_runs(settings: Settings, runs: Sequence[NotedRun], now: float) -> Iterator[Finding]:
    """The daemon, and the runs that outlived the one that began them."""
    daemon, _ = holder_of(paths.daemon_lock(settings.data_dir))
    if daemon is not None:
        detail = f"process {daemon} runs this machine's agents, with {len(runs)} at work"
        yield Finding(what="daemon", level=OK, detail=detail)
        return
    for run in runs:
        yield finding_of(run, now)
    if not runs:
        yield Finding(what="processes", level=OK, detail="no daemon runs here, and no run of one is left")


def finding_of(run: NotedRun, now: float) -> Finding:
    """How a run without a daemon does, and what the next daemon makes of it."""
    stays = run.task is None
    name = f"{run.seat}: " + ("the process that stays there" if stays else f"{run.task} (attempt {run.attempt})")
    if run.process is not None:
        since = f" since {duration(now - run.began_at)}" if run.began_at else ""
        detail = f"{name} goes on without a daemon{since} (process {run.process})"
        then = "keeps it on" if stays else "carries it on, and hands its result in"
    elif run.ended is not None:
        detail = f"{name} has ended without a daemon ({run.ended})"
        then = "tells the server, and starts it anew" if stays else "hands it in"
    else:
        detail = f"{name} was killed, and nobody saw how it ended"
        then = "tells the server, and starts it anew" if stays else "tells the server, which gives the task out again"
    return Finding(what="processes", level=WARNING, detail=detail, next=f"greenroom daemon start {then}")
