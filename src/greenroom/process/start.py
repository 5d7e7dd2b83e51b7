"""Knows how the wrapper of a command is started, and what is said until the command runs. Must not know how it ends."""

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
from greenroom.process import journal, wrapper
from greenroom.process.identity import Identity, identity_of
from greenroom.process.members import end_group

START_S_MAX = 60.0
READY, GO, BEGUN = b"ready\n", b"g", "begun"
NONE = -1


def compiled() -> bytes:
    """The wrapper as a file that Python runs."""
    assert wrapper.__spec__ is not None
    loader = wrapper.__spec__.loader
    assert isinstance(loader, InspectLoader)
    return MAGIC_NUMBER + bytes(12) + marshal.dumps(loader.get_code(wrapper.__name__))


OWN_PROGRAM = compiled()
"""The wrapper as it was when this process began. Where it was installed lies another version after an upgrade, and that
one and this process would not understand each other: not one command could be started any more.
"""


class NotNow(Exception):
    """The command was not started, since whoever asked for it may not begin any more."""


class Start:
    """A wrapper that was started by this process, and the pipe at whose end it ends everything, if there is one."""

    def __init__(self, leader: "subprocess.Popen[bytes]", lifeline: int) -> None:
        # It has not been waited for, so the number is still its own even if it has ended already.
        self.identity = identity_of(leader.pid) or Identity(leader.pid, "ended at once")
        self._leader = leader
        self._lifeline = lifeline

    def collect(self) -> None:
        """Wait until it has ended."""
        self._leader.wait()
        if self._lifeline != NONE:
            os.close(self._lifeline)


def start_wrapper(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes,
    folder: Path,
    marks: Mapping[str, str],
    output_bytes_max: int,
    lifeline_grace_s: float | None,
    may_begin: Callable[[], bool],
) -> Start:
    """Start a wrapper, and return when the command runs. Raises ConfigurationError when it cannot be started.

    `may_begin` is asked when nothing is left to be done but that; NotNow is raised where it says no.
    """
    cut, lifeline = os.pipe() if lifeline_grace_s is not None else (NONE, NONE)
    ours, its = (end.detach() for end in socket.socketpair())
    told = [
        *(str(folder.absolute()), str(cwd), str(output_bytes_max), str(lifeline_grace_s or 0.0)),
        *(env.get("LC_CTYPE", ""), ",".join(marks), str(its), str(cut)),
    ]
    start = None
    try:
        journal.begin(folder, command, stdin)
        (folder / wrapper.PROGRAM).write_bytes(OWN_PROGRAM)
        with open(folder / "wrapper.log", "ab") as log:
            leader = subprocess.Popen(
                [sys.executable, "-I", "-S", str(folder.absolute() / wrapper.PROGRAM), *told],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                pass_fds=[descriptor for descriptor in (its, cut) if descriptor != NONE],
            )
        start = Start(leader, lifeline)
        os.close(its)
        its = NONE
        let_begin(ours, may_begin, command, cwd, folder)
        return start
    except BaseException as error:
        if start is not None:
            os.close(ours)  # a wrapper that waits for our word ends by itself; being killed, it would be waited for
            ours = NONE
            end_group(start.identity, 0, marks)
            start.collect()
        elif lifeline != NONE:
            os.close(lifeline)
        if isinstance(error, OSError | ValueError):
            raise refusal(command, cwd, str(error)) from error
        raise
    finally:
        for descriptor in {ours, its, cut} - {NONE}:
            os.close(descriptor)


def let_begin(ours: int, may_begin: Callable[[], bool], command: Sequence[str], cwd: Path, folder: Path) -> None:
    """Let the wrapper begin when it is ready, and hear that the command runs. Raises ConfigurationError and NotNow.

    A wrapper that was killed with our word in its hands may have started the command: that has begun, and nobody sees
    how it ends.
    """
    clock = SystemClock()
    deadline, said, was_let = clock.monotonic() + START_S_MAX, b"", False
    poll = select.poll()
    poll.register(ours, select.POLLIN)
    while poll.poll(max(0.0, deadline - clock.monotonic()) * 1000):
        if not (more := heard(ours)):
            if said == READY and was_let and more is not None:
                return
            break
        said += more
        if said == READY and not was_let:
            # A computer may have slept until here. Nothing but a word of ours starts the command from now on.
            if not may_begin():
                raise NotNow
            with suppress(OSError):  # it has ended, which the next look finds
                os.write(ours, GO)
                was_let = True
    else:
        raise refusal(command, cwd, f"this computer has not come to it within {START_S_MAX:g} s")
    word, _, more_said = os.fsdecode(said).rstrip("\n").rpartition("\n")[2].partition(" ")
    number, _, detail = more_said.partition(" ")
    log = folder / "wrapper.log"
    if word == BEGUN:
        return
    if word == "moved":
        raise ConfigurationError(
            f"The directory {cwd} is not itself any more: it leads to {detail}, and nobody allowed that.",
            "Put the directory back, or wish another working directory.",
        )
    if word == "disk":
        raise ConfigurationError(
            f"Nothing can be written down in {folder}: {os.strerror(int(number))}.", "Make room there."
        )
    why = os.strerror(int(number)) if number else f"{sys.executable}, which should watch over it, failed; see {log}"
    raise refusal(command, cwd, why)


def heard(ours: int) -> bytes | None:
    """What the wrapper says; nothing where it has ended, and None where it did so without having read all of ours."""
    with suppress(ConnectionError):
        return os.read(ours, 64 * 1024)
    return None


def refusal(command: Sequence[str], cwd: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The command {list(command)!r} cannot be started in {cwd}: {why}.",
        "Correct the command or its working directory in the configuration of this machine.",
    )
