"""Decides which runs of a killed daemon are adopted, and ends and reports the others."""

import logging

from greenroom.client.run_spec import run_marks
from greenroom.clock import Clock, format_instant
from greenroom.daemon.agent_reporter import run_report_id
from greenroom.daemon.outbox import Outbox
from greenroom.daemon.run_records import RunRecord, RunRecords
from greenroom.process.process_tree import end_leftover
from greenroom.wire.requests import AgentReport

log = logging.getLogger("greenroom.daemon.adoption")

SIGKILL_NUMBER = 9


def adopt_runs(records: RunRecords, outbox: Outbox, clock: Clock) -> list[RunRecord]:
    """The runs of an earlier daemon that this one adopts, at most one of each role.

    The others are ended, and their ends are reported.
    """
    records.remove_drafts()
    newest: dict[tuple[str, str], RunRecord] = {}
    for run in sorted(records.read_all(), key=lambda run: run.began_at):
        if outbox.holds(run_report_id("exit", run)):
            # The daemon was killed after it had reported the end and before it removed the record: count the end once.
            records.remove(run)
            continue
        earlier = newest.pop((run.room, run.role), None)
        if earlier is not None:
            # It had ended when the next one started; the report of that may have been lost while the disk was full.
            end_leftover_run(earlier, records, outbox, clock, is_over=True)
        if run.spec is None or run.claimed is None:
            end_leftover_run(run, records, outbox, clock)
        else:
            newest[run.room, run.role] = run
    for run in newest.values():
        log.info("run adopted: %s, attempt %d: started by an earlier daemon", run.task, run.attempt)
    return list(newest.values())


def end_leftover_run(run: RunRecord, records: RunRecords, outbox: Outbox, clock: Clock, is_over: bool = False) -> None:
    """Kill what is left of a run that is not adopted, and report its end."""
    was_alive = end_leftover(run.identity, run_marks(run.task, run.attempt, run.connection_id))
    if was_alive:
        log.warning("leftover processes killed: %s, attempt %d: not adopted", run.task, run.attempt)
    ending = "the run was killed when the daemon started again" if was_alive else "how the run ended was not recorded"
    report = AgentReport(
        id=run_report_id("exit", run),
        kind="exited",
        room=run.room,
        role=run.role,
        connection_id=run.connection_id,
        task=run.task,
        attempt=run.attempt,
        signal=SIGKILL_NUMBER if was_alive else None,
        intended=is_over,
        probe=run.probe,
        generation=run.spec.generation if run.spec is not None else None,
        at=format_instant(clock.wall()),
        detail=f"The daemon of this machine was killed; {ending}.",
    )
    outbox.add(report, on_safe=lambda: records.remove(run))
