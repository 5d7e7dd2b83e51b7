"""Knows what the three programs hand to each other, as words for people and JSON for programs; touches no repository.

The JSON stands in the last fenced block of the text. No line inside it can look like a fence, because JSON writes line
breaks within strings as escapes; so a person's words or a rule's name cannot be mistaken for the plan.
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
    fixable: int  # how many of them ruff can fix without changing what the code means


@dataclass(frozen=True)
class Plan:
    job: str  # names the folder of the private copy
    repository: str
    base: str  # the commit that was surveyed
    fixed: str  # the commit with the fixes, made in the private copy; the base as long as nothing is fixed
    found: tuple[Finding, ...]
    left: tuple[Finding, ...] = ()
    formatted: bool = False


def write_plan(plan: Plan, summary: str) -> str:
    return f"{summary.rstrip()}\n\n{FENCE}{json.dumps(asdict(plan), indent=1)}\n```\n"


def read_plan(text: str) -> Plan:
    """Take the plan out of a handed text; raise Refused when there is none that can be used."""
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
    except (ValueError, KeyError, TypeError) as trouble:
        raise Refused(
            "This text holds no plan that can be followed. Send the path of the repository to the surveyor, "
            f"who makes the plan. ({type(trouble).__name__}: {trouble})"
        ) from trouble


def list_findings(findings: tuple[Finding, ...]) -> str:
    """One line per rule, the most frequent first."""
    lines = []
    for finding in sorted(findings, key=lambda finding: (-finding.count, finding.rule)):
        fixable = f"{finding.fixable} can be fixed safely" if finding.fixable else "needs a person"
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
        raise TypeError(f"{value!r} should be a {kind.__name__}")
    return value


def _expect_commit(value: Any) -> str:
    # It becomes an argument of git, so it must not be able to look like an option.
    if not COMMIT.fullmatch(_expect(value, str)):
        raise ValueError(f"{value!r} should be a commit's full name")
    return str(value)
