"""Fixer: applies the safe fixes to the private copy and commits them there."""

from __future__ import annotations

from dataclasses import replace

from findings import fix_safely, format_files, list_changed, list_remaining, uses_format
from plan import Plan, count, list_findings, read_plan, write_plan
from room import report_progress, run
from workspace import Workspace, git, open_workspace


def fix(text: str) -> str:
    plan = read_plan(text)
    with open_workspace(plan.job) as workspace:
        workspace.go_to(plan.base)  # an earlier attempt may have been killed between two fixes
        left = fix_safely(workspace.copy)
        formatted = uses_format(workspace.copy)
        if formatted:
            format_files(workspace.copy)
            left = list_remaining(workspace.copy)
        plan = replace(plan, left=left, formatted=formatted)
        plan = replace(plan, fixed=commit(workspace, plan))
        changed = len(list_changed(workspace.copy, plan.base, plan.fixed))
    report_progress(f"changed files: {changed}, findings left: {count(plan.left)}")
    return write_plan(plan, f"{describe(plan)} in the copy of {plan.repository}. Changed files: {changed}.")


def commit(workspace: Workspace, plan: Plan) -> str:
    """Commit the changes, if there are any; return the commit that is checked out."""
    git(workspace.copy, "add", "--update")
    if git(workspace.copy, "diff", "--cached", "--name-only"):
        rules = list_findings(plan.found)
        git(workspace.copy, "commit", "--quiet", "--no-verify", "-m", describe(plan), "-m", f"Found before:\n{rules}")
    return git(workspace.copy, "rev-parse", "HEAD").strip()


def describe(plan: Plan) -> str:
    fixed = max(0, count(plan.found) - count(plan.left))
    formatting = " and formatted with ruff" if plan.formatted else ""
    return f"{fixed} of {count(plan.found)} findings fixed{formatting}"


if __name__ == "__main__":
    run(fix)
