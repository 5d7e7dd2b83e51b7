"""`greenroom login`: checks a token with its server and stores it for this user.

The token is never an argument, because arguments appear in the shell's history and in the process list.
"""

import getpass
import os
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import msgspec

from greenroom.cli.connection import open_session
from greenroom.cli.errors import UsageError
from greenroom.cli.terminal import print_if_waiting, print_json
from greenroom.domain.errors import ConfigurationError, NotFound, Refused, Unauthorized
from greenroom.exit_codes import ExitCode
from greenroom.settings import paths, stored_tokens
from greenroom.settings.resolve import Settings, check_token, check_url, is_local_server, is_loopback
from greenroom.settings.stored_tokens import StoredToken

BYTE_ORDER_MARK = "\ufeff"
"""With which some editors begin a file."""
LINE_CHARACTERS_MAX = 64 * 1024


class StoredLogin(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a login as JSON: `token` is `stored` or `none`, `path` the file that holds it."""

    url: str
    token: str
    path: str | None = None


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    url = settings.url if arguments.server is None else check_url(arguments.server, "URL")
    if arguments.forget:
        return forget_token(url, arguments, out)
    if is_local_server(url, settings.data_dir):
        raise UsageError(
            f"{url} is this machine's own server; its token is found without a login.", "No login is needed."
        )
    without_token = msgspec.structs.replace(settings, url=url, token=None)
    open_session(without_token).healthz()  # Before the prompt: fails if no Greenroom server answers.
    if urlsplit(url).scheme == "http" and not is_loopback(url):
        print(f"warning: {url} is not encrypted: others on the network can read the token.", file=err)
    token = check_token(read_token(url, err), "The input")
    try:
        open_session(msgspec.structs.replace(without_token, token=token)).task("task_none")
    except Unauthorized as error:
        raise Unauthorized(
            f"{url} rejects this token; nothing was stored.",
            "Use the operator's token (the file operator.token in that server's data directory), or ask its operator "
            "to create one: greenroom machine token MACHINE, or greenroom agent token ROOM/ROLE.",
        ) from error
    except (NotFound, Refused):
        pass  # The token is valid: the server answers NotFound to an operator, Refused to others.
    path = store_token(StoredToken(url=url, token=token))
    if arguments.json:
        print_json(out, StoredLogin(url=url, token="stored", path=str(path)))
    print(f"{url} accepts the token; it is stored in {path}.", file=err)
    if os.environ.get("GREENROOM_TOKEN", "").strip():
        print("note: GREENROOM_TOKEN is set and overrides the stored token.", file=err)
    if url != settings.url:
        print(f"next: export GREENROOM_URL={url}", file=err)
    return ExitCode.DONE


def forget_token(url: str, arguments: Namespace, out: TextIO) -> int:
    try:
        was_there = stored_tokens.remove_stored_token(os.environ, url)
    except OSError as error:
        raise ConfigurationError(
            f"The token for {url} cannot be removed: {error}.", "Remove that file by hand."
        ) from error
    if arguments.json:
        print_json(out, StoredLogin(url=url, token="none"))
    else:
        print(f"The token for {url} is removed." if was_there else f"No token is stored for {url}.", file=out)
    return ExitCode.DONE


def store_token(login: StoredToken) -> Path:
    try:
        return stored_tokens.store_token(os.environ, login)
    except OSError as error:
        raise ConfigurationError(
            f"The token cannot be stored in {paths.login(os.environ, login.url)}: {error}.",
            "Free some space or make that path writable, or set GREENROOM_TOKEN instead.",
        ) from error


def read_token(url: str, err: TextIO) -> str:
    """Read the token from a prompt without echo, or the first line of piped input. Raises WrongUsage if it is empty."""
    if sys.stdin.isatty():
        token = ""
        with suppress(EOFError):
            token = getpass.getpass(f"Token for {url}: ", err)
    else:
        print_if_waiting(sys.stdin, err, "waiting for the token on standard input")
        token = sys.stdin.readline(LINE_CHARACTERS_MAX)
    token = token.removeprefix(BYTE_ORDER_MARK).strip()
    if not token:
        raise UsageError("No token was given.", "Type it at the prompt, or pipe it in: `< operator.token`.")
    return token
