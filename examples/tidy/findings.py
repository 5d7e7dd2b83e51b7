"""Runs ruff to list and to fix findings, with the rules that the repository has chosen."""

from __future__ import annotations

import json
from pathlib import Path

from plan import Finding
from room import CommandFailed, Refused
from workspace import git, ruff

# No cache, so that ruff writes no files beside the code; no unsafe fixes, even if the configuration allows them.
ALWAYS = ("--no-cache", "--no-unsafe-fixes", "--exit-zero", "--statistics", "--output-format=json")
FORMAT_SECTIONS = {"pyproject.toml": "[tool.ruff.format", "ruff.toml": "[format", ".ruff.toml": "[format"}


def list_remaining(copy: Path) -> tuple[Finding, ...]:
    return _check(copy, "--no-fix", "--no-fix-only")


def fix_safely(copy: Path) -> tuple[Finding, ...]:
    """Apply the safe fixes; return the findings that are left."""
    return _check(copy, "--fix", "--no-fix-only")


def uses_format(copy: Path) -> bool:
    """Whether the repository is configured to be formatted by ruff."""
    for name, section in FORMAT_SECTIONS.items():
        if any(line.startswith(section) for line in _read_lines(copy / name)):
            return True
    return any("id: ruff-format" in line for line in _read_lines(copy / ".pre-commit-config.yaml"))


def format_files(copy: Path) -> None:
    # Exit code 2 means that some files could not be parsed; the others are formatted all the same.
    ruff(copy, "format", "--no-cache", ".", allowed=(0, 2))


def list_changed(copy: Path, base: str, fixed: str) -> list[str]:
    return [name for name in git(copy, "diff", "--name-only", "-z", base, fixed).split("\0") if name]


def _check(copy: Path, *options: str) -> tuple[Finding, ...]:
    try:
        document = json.loads(ruff(copy, "check", *options, *ALWAYS, ".") or "[]")
    except CommandFailed as failure:
        if "No module named" in str(failure):
            raise Refused(
                "Ruff is not installed in the Python that runs Greenroom. Install it there: pip install ruff"
            ) from None
        raise Refused(f"Ruff rejects the repository's configuration; fix it, and send again. {failure}") from None
    return tuple(
        Finding(item["code"] or "syntax", item["name"], item["count"], item["fixable_count"]) for item in document
    )


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
