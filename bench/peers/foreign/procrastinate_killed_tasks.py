"""Procrastinate jobs that are killed while they run, and the documented periodic task that retries stalled jobs."""

from typing import Any

from bench.peers.foreign.killed_task import run_until_killed
from bench.peers.foreign.procrastinate_tasks import app, report_address


def run(key: str) -> None:
    """The job: it runs on a thread, so that the worker's own heartbeat goes on."""
    run_until_killed(key, report_address)


killed_job = app.task(run, name="mortal")


async def retry_stalled_jobs(context: Any, timestamp: int) -> None:
    """Retry the jobs of workers whose heartbeat has been missing for thirty seconds."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


periodic_retry = app.periodic(cron="* * * * *")(
    app.task(retry_stalled_jobs, name="retry_stalled_jobs", queueing_lock="retry_stalled_jobs", pass_context=True)
)
"""Every minute, the most often that cron notation allows; the documentation runs it every ten minutes."""
