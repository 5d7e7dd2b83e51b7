"""`greenroom login`: tries a token at its server, and keeps it for this person. Must not know what the token may do.

The token is never an argument: what is typed as one stands in the shell's history and in the list of processes.
"""

import getpass
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import msgspec

from greenroom.cli.connection import session_of
from greenroom.cli.exits import WrongUsage
from greenroom.cli.output import print_json
from greenroom.domain.errors import ConfigurationError, NotFound, Refused, Unauthorized
from greenroom.settings import logins, paths
from greenroom.settings.logins import Login
from greenroom.settings.resolve import Settings, check_token, check_url, is_loopback, listens_here

LINE_CHARACTERS_MAX = 64 * 1024


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept for a server now: `stored`, or `none`."""

    url: str
    token: str
    path: str | None = None


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    url = settings.url if arguments.server is None else check_url(arguments.server, "URL")
    if arguments.forget:
        return forget(url, arguments, out)
    if listens_here(url, settings.data_dir):
        raise WrongUsage(
            f"{url} is this machine's own server; its token is found by itself.", "Nothing is to be done: use it."
        )
    told = msgspec.structs.replace(settings, url=url, token=None)
    session_of(told).healthz()  # Before anything is typed: nobody is there, or something else than a Greenroom.
    if urlsplit(url).scheme == "http" and not is_loopback(url):
        print(f"warning: {url} is not encrypted: whoever is in between can read the token.", file=err)
    token = check_token(read_token(url, err), "What was typed")
    try:
        session_of(msgspec.structs.replace(told, token=token)).task("task_none")
    except Unauthorized as error:
        raise Unauthorized(
            f"{url} is there, and refuses this token; nothing was stored.",
            "Use the operator's token (the file operator.token in that server's data directory), or have its operator "
            "make one: greenroom machine token MACHINE, greenroom agent token ROOM/ROLE.",
        ) from error
    except (NotFound, Refused):
        pass  # It is known there: an operator is told that there is no such task, anybody else no more than that.
    path = keep(Login(url=url, token=token))
    if arguments.json:
        print_json(out, Standing(url=url, token="stored", path=str(path)))
    print(f"{url} takes the token; it is stored in {path}.", file=err)
    if os.environ.get("GREENROOM_TOKEN", "").strip():
        print("note: GREENROOM_TOKEN is set, and counts more than what is stored.", file=err)
    if url != settings.url:
        print(f"next: export GREENROOM_URL={url}", file=err)
    return 0


def forget(url: str, arguments: Namespace, out: TextIO) -> int:
    try:
        was_there = logins.forget(os.environ, url)
    except OSError as error:
        raise ConfigurationError(
            f"The token for {url} cannot be removed: {error}.", "Remove that file by hand."
        ) from error
    if arguments.json:
        print_json(out, Standing(url=url, token="none"))
    else:
        print(f"The token for {url} is forgotten." if was_there else f"No token is stored for {url}.", file=out)
    return 0


def keep(login: Login) -> Path:
    try:
        return logins.store(os.environ, login)
    except OSError as error:
        raise ConfigurationError(
            f"The token cannot be stored in {paths.login(os.environ, login.url)}: {error}.",
            "Make room there or make it writable, or set GREENROOM_TOKEN instead.",
        ) from error


def read_token(url: str, err: TextIO) -> str:
    """The token, typed without being shown, or the first line of what is piped in."""
    if sys.stdin.isatty():
        token = getpass.getpass(f"Token for {url}: ", err)
    else:
        token = sys.stdin.readline(LINE_CHARACTERS_MAX)
    if not token.strip():
        raise WrongUsage("There is no token.", "Type it when it is asked for, or pipe it in: `< operator.token`.")
    return token.strip()
