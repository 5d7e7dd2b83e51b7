"""Surveyor: makes a private copy of the repository that a message names, and lists what could be tidied."""

from __future__ import annotations

import os

from findings import list_remaining
from plan import Plan, count, list_findings, write_plan
from request import find_repository
from room import report_progress, run
from workspace import open_workspace, remove_old_jobs


def survey(message: str) -> str:
    repository, base = find_repository(message)
    # Named after the task, not the attempt: a second attempt finds and replaces the files of the first.
    job = os.environ.get("GREENROOM_TASK") or f"by-hand-{os.getpid()}"
    with open_workspace(job) as workspace:
        remove_old_jobs(workspace.folder)
        workspace.make_copy(repository, base)
        report_progress(f"copied {repository} at {base[:12]}")
        plan = Plan(job, str(repository), base, fixed=base, found=list_remaining(workspace.copy))
        return write_plan(plan, describe(plan, str(workspace.copy)))


def describe(plan: Plan, copy: str) -> str:
    fixable = sum(finding.fixable for finding in plan.found)
    return (
        f"{plan.repository} at {plan.base[:12]}: {count(plan.found)} findings of {len(plan.found)} rules, "
        f"{fixable} of them can be fixed safely. Working copy: {copy}\n{list_findings(plan.found)}"
    )


if __name__ == "__main__":
    run(survey)
