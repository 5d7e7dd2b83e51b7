"""Surroundings in which commands are run: what the environment, the standard streams and the system may be like."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

PYTHON_SHADOWS = ("types.py", "json.py", "logging.py", "socket.py", "site.py")
UNSHARE = shutil.which("unshare")


class Surrounding(NamedTuple):
    """What is different from a terminal in a user's home.

    A variable that is None is unset. `redirect` is appended to the command in a shell; `setup` runs first in that
    shell, and `prefix` runs the shell.
    """

    name: str
    variables: Mapping[str, str | None] = {}
    redirect: str = ""
    setup: str = ""
    prefix: tuple[str, ...] = ()


def can_unshare() -> bool:
    """Whether this user may create namespaces."""
    if UNSHARE is None:
        return False
    done = subprocess.run([UNSHARE, "--pid", "--mount", "--fork", "--mount-proc", "true"], capture_output=True)
    return done.returncode == 0


def list_surroundings(folder: Path) -> list[Surrounding]:
    """All surroundings that this machine can give; `folder` holds what they need."""
    shadows = folder / "shadows"
    shadows.mkdir()
    for name in PYTHON_SHADOWS:
        (shadows / name).write_text("raise SystemExit('a module of the project was imported')\n")
    read_only = folder / "read-only"
    read_only.mkdir(mode=0o500)
    dead_proxy = "http://127.0.0.1:9"
    found = [
        Surrounding("locale C", {"LC_ALL": "C", "LANG": None}),
        Surrounding("locale Latin-1", {"LC_ALL": "en_US.ISO-8859-1", "LANG": None}),
        Surrounding("no locale", {"LC_ALL": None, "LANG": None, "LC_CTYPE": None}),
        Surrounding("ASCII streams", {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}),
        Surrounding("stdout closed", redirect=">&-"),
        Surrounding("stderr closed", redirect="2>&-"),
        Surrounding("stdin closed", redirect="<&-"),
        Surrounding("all streams closed", redirect="<&- >&- 2>&-"),
        Surrounding("stdout full", redirect=">/dev/full"),
        Surrounding("stderr full", redirect="2>/dev/full"),
        Surrounding("stdout gone", redirect="| true"),
        Surrounding("stderr gone", redirect="2> >(true)"),
        Surrounding("no HOME", {"HOME": None}),
        Surrounding("HOME not writable", {"HOME": str(read_only)}),
        Surrounding("HOME missing", {"HOME": str(folder / "missing")}),
        Surrounding("umask 0", setup="umask 0"),
        Surrounding("umask 077", setup="umask 077"),
        Surrounding("umask 777", setup="umask 0777") if os.geteuid() == 0 else Surrounding("umask 022"),
        Surrounding(
            "empty variables", dict.fromkeys(("XDG_STATE_HOME", "XDG_CONFIG_HOME", "LC_ALL", "LANG", "TERM"), "")
        ),
        Surrounding(
            "proxies",
            dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"), dead_proxy),
        ),
        Surrounding("PYTHONPATH", {"PYTHONPATH": str(folder / "missing")}),
        Surrounding("modules in the folder", setup=f"cd {shadows}"),
        Surrounding("PYTHONWARNINGS", {"PYTHONWARNINGS": "error"}),
        Surrounding("PYTHONOPTIMIZE", {"PYTHONOPTIMIZE": "2"}),
        Surrounding("PYTHONSTARTUP", {"PYTHONSTARTUP": str(shadows / "types.py"), "PYTHONINSPECT": ""}),
        Surrounding("small window", {"COLUMNS": "1", "LINES": "1"}),
        Surrounding("no PATH", {"PATH": ""}),
        Surrounding("removed folder", setup=f"mkdir -p {folder}/gone; cd {folder}/gone; rmdir {folder}/gone"),
        Surrounding("few descriptors", setup="ulimit -n 64"),
        Surrounding("SIGHUP, SIGPIPE ignored", setup="trap '' HUP PIPE"),
    ]
    if can_unshare():
        new_pids = ("unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child")
        new_mounts = ("unshare", "--mount", "--fork", "--kill-child")
        found += [
            Surrounding("other PID namespace", prefix=new_pids),
            Surrounding("no /proc", setup="mount -t tmpfs none /proc", prefix=new_mounts),
            Surrounding("no /dev/shm", setup="mount -t tmpfs -o ro none /dev/shm", prefix=new_mounts),
        ]
    return found


def shell_command(surrounding: Surrounding, command: list[str]) -> list[str]:
    """The command line that runs a command in these surroundings."""
    script = f'{surrounding.setup or ":"}; "$@" {surrounding.redirect}'
    if surrounding.redirect.startswith("|"):
        script += "; exit ${PIPESTATUS[0]}"
    return [*surrounding.prefix, shutil.which("bash") or "bash", "-c", script, "bash", *command]
