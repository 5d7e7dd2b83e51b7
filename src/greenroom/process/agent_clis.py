"""Finds the agent CLIs that are installed on this machine, out of those that Greenroom knows. Runs none of them.

A CLI that is found may not run for that: only the harnesses of the owner's configuration may.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from greenroom.process.command import child_environment


class FoundAgentCli(msgspec.Struct, frozen=True, kw_only=True):
    """An agent CLI, the path of its program, and the configuration that makes a harness of it."""

    name: str
    path: Path
    snippet: str


SNIPPETS: Final = {
    "claude": """\
[daemon.harnesses.claude]
command = ["claude", "-p", "--output-format", "stream-json", "--verbose"]
result = "claude-code"
# Its own settings say what it may do without asking: see its --permission-mode and --allowedTools.
""",
    "codex": """\
[daemon.harnesses.codex]
command = ["codex", "exec", "-"]
# Its own settings say what it may do without asking: see its --sandbox; outside of a git repository it needs
# --skip-git-repo-check.
""",
    "opencode": """\
[daemon.harnesses.opencode]
command = ["opencode", "run", "--format", "json"]
result = "opencode"
# Its own settings say what it may do without asking: see `permission` in its opencode.json.
""",
    "qwen": """\
[daemon.harnesses.qwen]
command = ["qwen"]
# Its own settings say what it may do without asking: see its --approval-mode. When its API rejects a request, it
# prints the error as its answer and exits with code 0 (seen with 0.15.10).
""",
}
"""The configuration for each CLI, by the name of its program. Each gets its task on standard input, as was tested."""


def find_agent_clis(environ: Mapping[str, str]) -> list[FoundAgentCli]:
    """The known agent CLIs that a run on this machine finds in its PATH."""
    folders = [folder for folder in child_environment(environ, {})["PATH"].split(os.pathsep) if os.path.isabs(folder)]
    search = os.pathsep.join(folders)
    paths = {name: shutil.which(name, path=search) for name in SNIPPETS}
    return [
        FoundAgentCli(name=name, path=Path(path), snippet=SNIPPETS[name])
        for name, path in paths.items()
        if path is not None
    ]


def filter_unused(found: Iterable[FoundAgentCli], commands: Iterable[Sequence[str]]) -> list[FoundAgentCli]:
    """The CLIs that no command names as any of its words: a CLI may be started by way of another program."""
    named = {Path(word).name for command in commands for word in command}
    return [cli for cli in found if cli.name not in named]
