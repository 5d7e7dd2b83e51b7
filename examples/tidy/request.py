"""Finds the repository that a message names, and checks that it can be tidied. Changes nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

from room import CommandFailed, Refused
from workspace import git, work_folder

HERE = Path(__file__).resolve().parent
PATH_CHARS_MAX = 4096
QUOTED = re.compile(r"""(["'`])((?:[/~]|\.\.?/).*?)\1""")
PATH_START = re.compile(r"(?<!\S)[/~]")
NOT_A_WHOLE_PATH = re.compile(r"(?<!\S)[^\s/~][^\s/]*/\S+")


def find_repository(message: str) -> tuple[Path, str]:
    """Return the repository's top folder and its newest commit. Raises Refused, with what to do instead."""
    named = find_path(message)
    try:
        repository = _find_top(named or HERE)
    except CommandFailed as failure:
        if named is None:
            raise Refused(f"{HERE} is in no git repository. Name one: greenroom send tidy 'tidy /path/to/it'") from None
        raise Refused(f"{named} is not a readable git repository. Git reports: {failure}") from None
    if named is not None and repository != named:
        raise Refused(f"{named} is only a part of a repository. To tidy the whole repository, send: tidy {repository}")
    if work_folder().resolve().is_relative_to(repository):
        raise Refused(f"The copies would be inside {repository}. Set GREENROOM_WORK_DIR to a folder outside of it.")
    try:
        return repository, git(repository, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
    except CommandFailed:
        raise Refused(f"{repository} has no commits yet. Commit the files to tidy, and send again.") from None


def find_path(message: str) -> Path | None:
    """The folder that a message names, None if it names none. Paths may contain spaces, with or without quotes."""
    for line in message.splitlines():
        if quoted := QUOTED.search(line):
            return _existing_folder([quoted[2]])
        if start := PATH_START.search(line):
            words = line[start.start() :][:PATH_CHARS_MAX].rstrip().split(" ")
            longest_first = [" ".join(words[:length]) for length in range(len(words), 0, -1)]
            return _existing_folder(longest_first)
        if partial := NOT_A_WHOLE_PATH.search(line):
            raise Refused(f"{partial[0]!r} is not an absolute path. Name a folder on this machine: /path/to/it")
    return None


def _existing_folder(candidates: list[str]) -> Path:
    for candidate in candidates:
        for path in (candidate, candidate.rstrip(".,;:!?)")):
            expanded = os.path.expanduser(path)
            if os.path.isabs(expanded) and os.path.isdir(expanded):
                return Path(os.path.realpath(expanded))
    raise Refused(f"There is no readable folder {candidates[0]} on this machine. Check the path, and send again.")


def _find_top(folder: Path) -> Path:
    """The top of the working tree that contains a folder, or the git folder itself of a bare repository."""
    if git(folder, "rev-parse", "--is-inside-work-tree").strip() == "true":
        return Path(git(folder, "rev-parse", "--show-toplevel").removesuffix("\n")).resolve()
    return Path(git(folder, "rev-parse", "--absolute-git-dir").removesuffix("\n")).resolve()
