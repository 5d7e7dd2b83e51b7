"""Which known agent CLIs are installed here. Only says so: what may run is what the owner's configuration defines.

Must not know what is configured, nor run any of them.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from greenroom.process.environment import child_environment


class FoundCli(msgspec.Struct, frozen=True, kw_only=True):
    """An agent CLI, where its program lies, and what to put into a configuration for it to become a harness."""

    name: str
    path: Path
    snippet: str


SNIPPETS: Final = {
    "claude": """\
[daemon.harnesses.claude]
command = ["claude", "-p", "--output-format", "stream-json", "--verbose"]
result = "claude-code"
# What it may do unasked is up to its own settings: see its --permission-mode and --allowedTools.
""",
    "codex": """\
[daemon.harnesses.codex]
command = ["codex", "exec", "-"]
# What it may do unasked is up to its own settings: see its --sandbox; outside of a git repository it wants
# --skip-git-repo-check.
""",
    "opencode": """\
[daemon.harnesses.opencode]
command = ["opencode", "run", "--format", "json"]
result = "opencode"
# What it may do unasked is up to its own settings: see `permission` in its opencode.json.
""",
    "qwen": """\
[daemon.harnesses.qwen]
command = ["qwen"]
# What it may do unasked is up to its own settings: see its --approval-mode. Where its API refuses it, it prints that
# as its answer and ends well (seen with 0.15.10).
""",
}
"""By the name of the program. Each gets its task on standard input, which was tried with each of them."""


def discover(environ: Mapping[str, str]) -> list[FoundCli]:
    """The known agent CLIs that a run on this machine would find in its PATH."""
    places = [place for place in child_environment(environ, {})["PATH"].split(os.pathsep) if os.path.isabs(place)]
    search = os.pathsep.join(places)
    found = {name: shutil.which(name, path=search) for name in SNIPPETS}
    return [
        FoundCli(name=name, path=Path(path), snippet=SNIPPETS[name]) for name, path in found.items() if path is not None
    ]


def unused(found: Iterable[FoundCli], commands: Iterable[Sequence[str]]) -> list[FoundCli]:
    """Those that stand in none of the commands, at any place: one may be run by way of another program."""
    named = {Path(word).name for command in commands for word in command}
    return [cli for cli in found if cli.name not in named]
