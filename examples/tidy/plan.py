"""Writes and reads the plan that the three programs hand on: a summary for users and JSON for the next program.

The JSON is the last fenced block of the text. No line inside it can look like a fence, because JSON escapes line breaks
in strings; so a user's text or a rule's name cannot be mistaken for the plan.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from room import Refused

FENCE = "```json\n"

COMMIT = re.compile(r"[0-9a-f]{40,64}")
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    rule: str
    name: str
    count: int
    fixable: int  # how many of them ruff can fix without changing the meaning of the code


@dataclass(frozen=True)
class Plan:
    job: str  # the name of the job's folder, which contains the private copy
    repository: str
    base: str  # the commit that was surveyed
    fixed: str  # the commit with the fixes in the private copy; equal to the base while nothing is fixed
    found: tuple[Finding, ...]
    left: tuple[Finding, ...] = ()
    formatted: bool = False


def write_plan(plan: Plan, summary: str) -> str:
    return f"{summary.rstrip()}\n\n{FENCE}{json.dumps(asdict(plan), indent=1)}\n```\n"


def read_plan(text: str) -> Plan:
    """Read the plan from the text of a task. Raises Refused if there is no valid plan."""
    try:
        document = json.loads(text.rpartition(FENCE)[2].rpartition("\n```")[0])
        return Plan(
            job=_expect(document["job"], str),
            repository=_expect(document["repository"], str),
            base=_expect_commit(document["base"]),
            fixed=_expect_commit(document["fixed"]),
            found=tuple(_read_finding(item) for item in document["found"]),
            left=tuple(_read_finding(item) for item in document["left"]),
            formatted=_expect(document["formatted"], bool),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            "This text contains no valid plan. Send the path of the repository to the surveyor, "
            f"which makes the plan. ({type(error).__name__}: {error})"
        ) from error


def list_findings(findings: tuple[Finding, ...]) -> str:
    """One line per rule, the most frequent first."""
    lines = []
    for finding in sorted(findings, key=lambda finding: (-finding.count, finding.rule)):
        fixable = f"{finding.fixable} can be fixed safely" if finding.fixable else "fix by hand"
        lines.append(f"  {finding.count:>5}  {finding.rule:<8} {finding.name} ({fixable})")
    return "\n".join(lines)


def count(findings: tuple[Finding, ...]) -> int:
    return sum(finding.count for finding in findings)


def _read_finding(item: Any) -> Finding:
    return Finding(
        rule=_expect(item["rule"], str),
        name=_expect(item["name"], str),
        count=_expect(item["count"], int),
        fixable=_expect(item["fixable"], int),
    )


def _expect(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _expect_commit(value: Any) -> str:
    # It becomes an argument of git, so it must not look like an option.
    if not COMMIT.fullmatch(_expect(value, str)):
        raise ValueError(f"{value!r} is not a full commit hash")
    return str(value)
