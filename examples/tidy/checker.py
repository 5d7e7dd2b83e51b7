"""Checker: runs the repository's own tests on the fixed copy, and writes the report with the diff for the user."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from findings import list_changed
from plan import Plan, count, list_findings, read_plan
from room import Refused, report_progress, run
from suite import Outcome, Suite, find_python
from workspace import Workspace, git, open_workspace

TEST_LIMIT_S = 600.0
# Options for a diff that `git apply` accepts, whatever the user's git configuration.
DIFF = ("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
DIFF_BYTES_MAX = 500_000  # a message may have 1 MiB; the file always has the whole diff


@dataclass(frozen=True)
class Check:
    after: Outcome
    before: Outcome | None  # None if it was not needed

    @property
    def newly_broken(self) -> bool:
        """Whether the fixes made it worse: it passed before, or other tests were broken before."""
        if self.after.passed or not self.after.finished or self.before is None:
            return False
        return self.before.passed or bool(self.after.broken - self.before.broken)


def check(text: str) -> str:
    plan = read_plan(text)
    with open_workspace(plan.job) as workspace:
        # The report is saved before the copy is removed, so that a retry after a kill only has to print it again.
        if not workspace.report.exists():
            workspace.save(workspace.report, make_report(plan, workspace))
        workspace.remove_copy()
        return workspace.report.read_text(encoding="utf-8")


def make_report(plan: Plan, workspace: Workspace) -> str:
    workspace.go_to(plan.fixed)
    # Computed from the commits, before any test runs: the diff contains only the fixer's work, whatever tests change.
    diff = git(workspace.copy, *DIFF, plan.base, plan.fixed)
    changed = list_changed(workspace.copy, plan.base, plan.fixed)
    checks = run_checks(plan, workspace)
    parts = [describe(plan, len(changed)), judge(plan, checks), list_checks(checks)]
    if plan.left:
        parts.append(f"Left, {count(plan.left)} in all:\n{list_findings(plan.left)}")
    if diff:
        workspace.save(workspace.diff, diff)
        parts.append(show_diff(plan, workspace, diff))
    return "\n\n".join(parts) + "\n"


def run_checks(plan: Plan, workspace: Workspace) -> list[Check]:
    """Check the fixed commit; if a check fails, run it on the base too, to see whether the fixes caused it."""
    suite = Suite(find_python(Path(plan.repository)), workspace.copy, read_limit_s())
    checks = []
    is_changed = plan.fixed != plan.base
    for run_check in (suite.compile_files, suite.run_tests) if is_changed else (suite.compile_files,):
        workspace.go_to(plan.fixed)
        after = run_check()
        if after is None:
            continue
        report_progress(f"{after.name}: {after.summary}")
        before = None
        if is_changed and not after.passed and after.finished:
            workspace.go_to(plan.base)
            before = run_check()
        checks.append(Check(after, before))
    return checks


def describe(plan: Plan, changed: int) -> str:
    where = f"{plan.repository} at {plan.base[:12]}"
    if plan.fixed == plan.base:
        found = f"; {count(plan.found)} findings must be fixed by hand" if plan.found else ", it is tidy"
        return f"Nothing to fix in {where}{found}."
    fixed = max(0, count(plan.found) - count(plan.left))
    formatting = ", formatted with ruff as the repository configures" if plan.formatted else ""
    return f"Tidied {where}: {fixed} of {count(plan.found)} findings fixed{formatting}. Changed files: {changed}."


def judge(plan: Plan, checks: list[Check]) -> str:
    """The verdict: one sentence on whether the diff should be applied."""
    worse = [check.after.name for check in checks if check.newly_broken]
    if plan.fixed == plan.base:
        return "There is no diff to apply, so the tests were not run."
    if worse:
        return f"NOT RECOMMENDED: {' and '.join(worse)} passed before the fixes and fails after them."
    if len(checks) < 2:
        return "Unproven: no tests were found, so read the diff before you apply it."
    if all(check.after.passed for check in checks):
        return "Recommended: the tests pass with the fixes."
    return (
        "Unproven: a check failed or did not finish, so it cannot judge the fixes. Read the diff before you apply it."
    )


def list_checks(checks: list[Check]) -> str:
    lines = ["Checks:"]
    for check in checks:
        lines.append(f"  {check.after.name}: {check.after.summary}")
        if check.before is not None:
            lines.append(f"    before the fixes: {check.before.summary}")
            lines += [f"    newly broken: {name}" for name in sorted(check.after.broken - check.before.broken)[:20]]
    return "\n".join(lines)


def show_diff(plan: Plan, workspace: Workspace, diff: str) -> str:
    apply = shlex.join(["git", "-C", plan.repository, "apply", str(workspace.diff)])
    shown = diff.encode("utf-8", "replace")[:DIFF_BYTES_MAX].decode("utf-8", "ignore")
    cut = "" if len(shown) == len(diff) else "\n(The rest is in the file named above.)"
    # Longer than a usual fence, so that a diff of a Markdown file does not end the block.
    fence = "`" * 8
    return f"To apply it (it does not include uncommitted changes):\n  {apply}\n\n{fence}diff\n{shown}{fence}{cut}"


def read_limit_s() -> float:
    value = os.environ.get("TIDY_TEST_LIMIT_S", "")
    try:
        limit_s = float(value or TEST_LIMIT_S)
    except ValueError:
        limit_s = 0
    if not limit_s > 0:
        raise Refused(f"TIDY_TEST_LIMIT_S is {value!r}; set it to a number of seconds above 0 in greenroom.toml.")
    return limit_s


if __name__ == "__main__":
    run(check)
