"""Runs `greenroom daemon start`, `stop` and `status`."""

import getpass
import logging
import os
import signal
import sys
import threading
from argparse import Namespace
from contextlib import suppress
from typing import TextIO
from urllib.parse import urlsplit

import msgspec

from greenroom.client.api_client import ApiClient
from greenroom.clock import SystemClock
from greenroom.daemon.daemon import Daemon
from greenroom.daemon.inventory import DaemonFiles, RecordedRun, read_daemon_files
from greenroom.daemon.machine_identity import MachineIdentity, read_or_create_identity
from greenroom.domain.errors import ConfigurationError, GreenroomError
from greenroom.entropy import SystemEntropy
from greenroom.exit_codes import ExitCode
from greenroom.file_lock import ENDING, acquire_lock, read_holder
from greenroom.process.exit_signals import Shutdown
from greenroom.settings import paths
from greenroom.settings.files import close_data_dir, rename_former
from greenroom.settings.resolve import Settings, check_token, find_token, is_loopback
from greenroom.settings.server_address import without_secrets
from greenroom.wire.replies import AgentOnMachine

__all__ = ["DaemonFiles", "MachineIdentity", "RecordedRun", "read_daemon_files"]
"""What `greenroom doctor` uses of the daemon, beside what is defined here."""

LINE_CHARACTERS_MAX = 64 * 1024
STOP_S_MAX = 30.0
POLL_EVERY_S = 0.05


class DaemonStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of this machine's daemon. `daemon_connected` is None if the server cannot be reached."""

    running: bool
    pid: int | None
    url: str | None
    machine: str | None = None
    daemon_connected: bool | None = None
    agents: tuple[AgentOnMachine, ...] = ()


def start(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Run this machine's daemon until it is stopped; the exit code."""
    token = read_start_token(arguments.token, sys.stdin, err)
    if urlsplit(settings.url).scheme == "http" and not is_loopback(settings.url):
        print(f"warning: {settings.url} is not encrypted: others on the network can read the token.", file=err)
    configure_logging(err)
    return run(settings, arguments.machine, arguments.follow, token)


def read_start_token(argument: str | None, stdin: TextIO, err: TextIO) -> str | None:
    """Read the token for this start alone, from `--token` or from `stdin`.

    Raises ConfigurationError for a text that is no token, without repeating the text.
    """
    if argument is None:
        return None
    if argument != "-":
        print(
            "note: a token on the command line shows in the list of processes; use `--token -` and standard input.",
            file=err,
        )
        token, origin = argument.strip(), "--token"
    elif stdin.isatty():
        token, origin = "", "The input"
        with suppress(EOFError):
            token = getpass.getpass("Token: ", err).strip()
    else:
        token = stdin.readline(LINE_CHARACTERS_MAX).removeprefix("\ufeff").strip()  # a byte order mark
        origin = "Standard input"
    if not token:
        raise ConfigurationError(
            f"{origin} holds no token.", "Pipe the token in (`... --token - < FILE`), or leave --token out."
        )
    return check_token(token, origin)


def run(
    settings: Settings, machine_name: str | None = None, follow: int | None = None, token: str | None = None
) -> int:
    """Run a daemon until a signal, the end of its parent (`follow`, a descriptor) or a newer daemon; its exit code.

    It sends `token`, or else the one of the environment, the stored login or the data directory, read at each
    registration. Raises AlreadyRunning when a daemon runs on this data directory, and the error with which the server
    rejected the first contact.
    """
    clock, entropy, ending = SystemClock(), SystemEntropy(), Shutdown()
    environ = dict(os.environ)

    def read_token() -> str | None:
        return token or find_token(settings.url, settings.data_dir, environ)[0]

    with acquire_lock(paths.daemon_lock(settings.data_dir), "daemon") as lock, ending.handle_signals():
        lock.write_info(settings.url)
        close_data_dir(settings.data_dir)
        rename_former(settings.data_dir / paths.FORMER_RESTART_STATE, paths.restart_state(settings.data_dir))
        machine = read_or_create_identity(paths.machine(settings.data_dir), entropy, machine_name)
        daemon = Daemon(settings, machine, read_token, environ, clock, entropy, ending)
        daemon.start()
        code = ending.wait(follow)
        with suppress(OSError):  # the disk is full
            lock.write_info(ENDING)
        daemon.stop("the daemon was stopped" if code in (ExitCode.DONE, ExitCode.INTERRUPTED) else "the daemon failed")
    if daemon.error is not None:
        raise daemon.error
    return code


def stop(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Stop this machine's daemon and its agents. It is success if no daemon runs."""
    lock = paths.daemon_lock(settings.data_dir)
    clock = SystemClock()
    pid, _ = read_holder(lock)
    if pid is None:
        print(f"No daemon runs in {settings.data_dir}.", file=err)
        return ExitCode.DONE
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = clock.monotonic() + STOP_S_MAX
    while read_holder(lock)[0] == pid:
        if clock.monotonic() >= deadline:
            print(f"The daemon (process {pid}) did not end within {STOP_S_MAX:g} s; see its output.", file=err)
            return ExitCode.FAILED
        threading.Event().wait(POLL_EVERY_S)
    print(f"Stopped the daemon (process {pid}).", file=err)
    return ExitCode.DONE


def status(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Print whether this machine's daemon runs, and what its server shows of it."""
    pid, text = read_holder(paths.daemon_lock(settings.data_dir))
    url = "" if text == ENDING else without_secrets(text)  # that of an earlier version may hold a password
    standing = DaemonStatus(running=pid is not None, pid=pid, url=url or None)
    if pid is not None:
        machine = read_or_create_identity(paths.machine(settings.data_dir), SystemEntropy())
        standing = msgspec.structs.replace(standing, machine=machine.id)
        try:
            server_url = url or settings.url
            token = find_token(server_url, settings.data_dir, os.environ)[0]
            view = ApiClient(server_url, token, settings.limits).machine(machine.id)
            standing = msgspec.structs.replace(standing, daemon_connected=view.daemon_connected, agents=view.agents)
        except GreenroomError as error:
            print(f"The server's view of this daemon cannot be read: {error}", file=err)
    print(msgspec.json.encode(standing).decode() if arguments.json else "\n".join(format_status(standing)), file=out)
    return ExitCode.DONE if standing.running else ExitCode.NOT_FOUND


def format_status(status: DaemonStatus) -> list[str]:
    """Format the status as lines of text."""
    if not status.running:
        return ["No daemon runs here. Start one with `greenroom daemon start`."]
    connection = {True: "connected to", False: "not connected to", None: "connection unknown to"}[
        status.daemon_connected
    ]
    lines = [f"The daemon runs as process {status.pid}: machine {status.machine}, {connection} {status.url}."]
    return lines + [f"{agent.room}/{agent.role}: {agent.status}" for agent in status.agents]


def configure_logging(err: TextIO) -> None:
    """Log to `err` from level INFO, one line for each record."""
    handler = logging.StreamHandler(err)
    handler.setFormatter(logging.Formatter("{asctime} daemon {levelname:<7} {message}", style="{"))
    logger = logging.getLogger("greenroom")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
