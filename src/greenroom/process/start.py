"""Knows how the wrapper of a command is started, and what it says first. Must not know how the command ends."""

import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

from greenroom.clock import SystemClock
from greenroom.domain.errors import ConfigurationError
from greenroom.process import journal, wrapper
from greenroom.process.identity import Identity, identity_of
from greenroom.process.members import end_group

START_S_MAX = 60.0
BEGUN = "begun"
NONE = -1


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
) -> Start:
    """Start a wrapper, and return when the command runs. Raises ConfigurationError when it cannot be started."""
    cut, lifeline = os.pipe() if lifeline_grace_s is not None else (NONE, NONE)
    hearing, telling = os.pipe()
    told = [
        *(str(folder.absolute()), str(cwd), str(output_bytes_max), str(lifeline_grace_s or 0.0)),
        *(env.get("LC_CTYPE", ""), ",".join(marks), str(telling), str(cut)),
    ]
    start = None
    try:
        journal.begin(folder, command, stdin)
        with open(folder / "wrapper.log", "ab") as log:
            leader = subprocess.Popen(
                [sys.executable, "-I", "-S", program(), *told],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                pass_fds=[descriptor for descriptor in (telling, cut) if descriptor != NONE],
            )
        start = Start(leader, lifeline)
        os.close(telling)
        telling = NONE
        listen(hearing, command, cwd, folder)
        return start
    except BaseException as error:
        if start is not None:
            end_group(start.identity, 0, marks)
            start.collect()
        elif lifeline != NONE:
            os.close(lifeline)
        if isinstance(error, OSError | ValueError):
            raise refusal(command, cwd, str(error)) from error
        raise
    finally:
        for descriptor in {hearing, telling, cut} - {NONE}:
            os.close(descriptor)


def program() -> str:
    """The wrapper's file: where it is up to date the compiled one, which saves a tenth of its memory and time."""
    source, compiled = wrapper.__file__, cache_from_source(wrapper.__file__)
    with suppress(OSError), open(compiled, "rb") as file:
        is_of, now = file.read(16)[8:], os.stat(source)
        if is_of == b"".join((int(part) & 0xFFFFFFFF).to_bytes(4, "little") for part in (now.st_mtime, now.st_size)):
            return compiled
    return source


def listen(hearing: int, command: Sequence[str], cwd: Path, folder: Path) -> None:
    """Hear from the wrapper that the command runs. Raises ConfigurationError with why it does not."""
    clock = SystemClock()
    deadline, said = clock.monotonic() + START_S_MAX, b""
    poll = select.poll()
    poll.register(hearing, select.POLLIN)
    while poll.poll(max(0.0, deadline - clock.monotonic()) * 1000):
        if not (more := os.read(hearing, 64 * 1024)):
            break
        said += more
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


def refusal(command: Sequence[str], cwd: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The command {list(command)!r} cannot be started in {cwd}: {why}.",
        "Correct the command or its working directory in the configuration of this machine.",
    )
