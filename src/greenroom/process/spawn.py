"""Starts the shim of a command, and speaks its start protocol until the command runs.

Over a socket pair, the shim sends `ready`, waits for the byte `g`, starts the command and sends `begun`; or it sends
the keyword, the error number and the detail of why the command was not started.
"""

import errno
import marshal
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.abc import InspectLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from greenroom.clock import SystemClock
from greenroom.domain.errors import ConfigurationError
from greenroom.private_files import open_private, write_private_bytes
from greenroom.process import run_folder, shim
from greenroom.process.identity import ProcessIdentity, identity_of
from greenroom.process.process_tree import end_group

START_S_MAX = 60.0
READY, GO, BEGUN = b"ready\n", b"g", "begun"
NONE = -1


def compile_shim() -> bytes:
    """The shim, compiled to the contents of a file that Python runs."""
    assert shim.__spec__ is not None
    loader = shim.__spec__.loader
    assert isinstance(loader, InspectLoader)
    return MAGIC_NUMBER + bytes(12) + marshal.dumps(loader.get_code(shim.__name__))


SHIM_PROGRAM = compile_shim()
"""The shim as it was when this process started. After an upgrade, the installed file is another version, with which
this process could not start any command.
"""


class StartDeclined(Exception):
    """The command was not started, since `may_begin` returned False."""


class ShimProcess:
    """A shim that this process started, and this process's end of the parent-death pipe, if there is one."""

    def __init__(self, leader: "subprocess.Popen[bytes]", parent_pipe: int) -> None:
        # It was not waited for yet, so the number is still its own, even if it has ended.
        self.identity = identity_of(leader.pid) or ProcessIdentity(leader.pid, "ended at once")
        self._leader = leader
        self._parent_pipe = parent_pipe

    def collect(self) -> None:
        """Wait until the shim has ended, and close the pipe."""
        self._leader.wait()
        if self._parent_pipe != NONE:
            os.close(self._parent_pipe)


def start_shim(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes,
    folder: Path,
    marks: Mapping[str, str],
    output_bytes_max: int,
    grace_s: float,
    ends_with_parent: bool,
    may_begin: Callable[[], bool],
) -> ShimProcess:
    """Start a shim, and return when the command runs. Raises ConfigurationError when it cannot be started.

    `may_begin` is called when only the command itself is left to start. Raises NotNow if it returns False.
    """
    parent_pipe_reading, parent_pipe = os.pipe() if ends_with_parent else (NONE, NONE)
    own_socket, shim_socket = (end.detach() for end in socket.socketpair())
    arguments = [
        *(str(folder.absolute()), str(cwd), str(output_bytes_max), str(grace_s)),
        *(env.get("LC_CTYPE", ""), ",".join(marks), str(shim_socket), str(parent_pipe_reading)),
    ]
    start = None
    try:
        run_folder.prepare_folder(folder, command, stdin)
        write_private_bytes(folder / shim.PROGRAM, SHIM_PROGRAM)
        with open(folder / "shim.log", "ab", opener=open_private) as log:
            leader = subprocess.Popen(
                [sys.executable, "-I", "-S", str(folder.absolute() / shim.PROGRAM), *arguments],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                pass_fds=[descriptor for descriptor in (shim_socket, parent_pipe_reading) if descriptor != NONE],
            )
        start = ShimProcess(leader, parent_pipe)
        os.close(shim_socket)
        shim_socket = NONE
        await_start(own_socket, may_begin, command, cwd, folder)
        return start
    except BaseException as error:
        if start is not None:
            os.close(own_socket)  # without this socket, a shim that waits for its byte ends by itself
            own_socket = NONE
            end_group(start.identity, 0, marks)
            start.collect()
        elif parent_pipe != NONE:
            os.close(parent_pipe)
        if isinstance(error, OSError | ValueError):
            raise start_error(command, cwd, str(error)) from error
        raise
    finally:
        for descriptor in {own_socket, shim_socket, parent_pipe_reading} - {NONE}:
            os.close(descriptor)


def await_start(
    own_socket: int, may_begin: Callable[[], bool], command: Sequence[str], cwd: Path, folder: Path
) -> None:
    """Let the shim start the command when it is ready, and wait until it runs. Raises ConfigurationError and NotNow.

    A shim that was killed after it got its byte may have started the command: then the command counts as started,
    and its end will not be recorded.
    """
    clock = SystemClock()
    deadline, received, has_sent_go = clock.monotonic() + START_S_MAX, b"", False
    poll = select.poll()
    poll.register(own_socket, select.POLLIN)
    while poll.poll(max(0.0, deadline - clock.monotonic()) * 1000):
        if not (chunk := receive(own_socket)):
            if received == READY and has_sent_go and chunk is not None:
                return
            break
        received += chunk
        if received == READY and not has_sent_go:
            # The computer may have slept until here. From now on, only this process's byte starts the command.
            if not may_begin():
                raise StartDeclined
            with suppress(OSError):  # the shim has ended, which the next poll finds
                os.write(own_socket, GO)
                has_sent_go = True
    else:
        raise start_error(command, cwd, f"the shim did not start it within {START_S_MAX:g} s")
    keyword, _, rest = os.fsdecode(received).rstrip("\n").rpartition("\n")[2].partition(" ")
    number, _, detail = rest.partition(" ")
    log = folder / "shim.log"
    if keyword == BEGUN:
        return
    if keyword == "moved":
        raise ConfigurationError(
            f"The directory {cwd} was replaced: it leads to {detail} now, which is not allowed.",
            "Restore the directory, or set another: greenroom agent set ROOM/ROLE --workdir PATH.",
        )
    if keyword == "disk":
        raise ConfigurationError(
            f"No file can be written in {folder}: {os.strerror(int(number))}.", "Free space there, or make it writable."
        )
    if keyword == "program" and int(number) == errno.ENOEXEC:
        raise start_error(command, cwd, "it is neither a binary for this system nor a script that begins with #!")
    reason = os.strerror(int(number)) if number else f"{sys.executable}, which runs the shim, failed; see {log}"
    raise start_error(command, cwd, reason)


def receive(own_socket: int) -> bytes | None:
    """What the shim sent; empty if it has ended, None if it has ended without reading all that was sent to it."""
    with suppress(ConnectionError):
        return os.read(own_socket, 64 * 1024)
    return None


def start_error(command: Sequence[str], cwd: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"The command {list(command)!r} cannot be started in {cwd}: {reason}.",
        "Correct the command or its working directory in the configuration of this machine.",
    )
