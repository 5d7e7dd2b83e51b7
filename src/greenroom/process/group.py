"""Knows how a command runs as a group of its own, and how the whole group is ended. Must not know what it is for."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from greenroom.clock import Clock, SystemClock
from greenroom.domain.errors import ConfigurationError
from greenroom.process.identity import Identity, identity_of, is_of_this_boot

LOOK_EVERY_S = 0.02
LOOK_EVERY_S_MAX = 0.2
KILL_S_MAX = 5.0


class Exit(msgspec.Struct, frozen=True):
    """How a command ended: the code it returned, or the signal that ended it."""

    code: int | None
    signal: int | None

    @property
    def is_success(self) -> bool:
        return self.code == 0

    def __str__(self) -> str:
        if self.signal is not None:
            return f"ended by {signal_name(self.signal)}"
        return f"exit code {self.code}"


class Group:
    """One command with everything that it starts: its own session and process group, so that it ends as a whole."""

    def __init__(self, leader: "subprocess.Popen[bytes]", identity: Identity, marks: Mapping[str, str]) -> None:
        self.identity = identity
        self._leader = leader
        self._marks = dict(marks)
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name=f"watch {identity.pid}", daemon=True).start()

    @classmethod
    def spawn(
        cls,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes,
        stdout_path: Path,
        stderr_path: Path,
        marks: Mapping[str, str] | None = None,
    ) -> "Group":
        """Start `command`. Raises ConfigurationError when it cannot be started.

        `marks` are variables of `env` that no other command has: whoever left group and session is known by them.
        `stdin` is handed over as a file and not through a pipe: a command that reads slowly, or never, blocks nobody.
        """
        stdout_path.parent.mkdir(parents=True, exist_ok=True)
        stderr_path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryFile(dir=stdout_path.parent) as given,
            open(stdout_path, "wb", opener=_open_private) as out,
            open(stderr_path, "wb", opener=_open_private) as err,
        ):
            given.write(stdin)
            given.seek(0)
            try:
                leader = subprocess.Popen(
                    list(command), cwd=cwd, env=dict(env), stdin=given, stdout=out, stderr=err, start_new_session=True
                )
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"The command {list(command)!r} cannot be started in {cwd}: {error}.",
                    "Correct the command or its working directory in the configuration of this machine.",
                ) from error
        # It has not been waited for, so the number is still its own even if it has ended already.
        identity = identity_of(leader.pid) or Identity(leader.pid, "ended at once")
        return cls(leader, identity, marks or {})

    def poll(self) -> Exit | None:
        """How the command ended; None while it runs."""
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> Exit | None:
        """Wait until the command has ended, at most `timeout_s`, and say how; None when it still runs."""
        if not self._ended.wait(timeout_s):
            return None
        code = self._leader.returncode
        return Exit(None, -code) if code < 0 else Exit(code, None)

    def stop(self, grace_s: float) -> Exit | None:
        """End the whole group: TERM, `grace_s` for it to tidy up, KILL. Stopping what does not run is success.

        Call it after the command has ended by itself too: it ends whoever the command left behind.
        None is answered only when the kernel does not let the command end (it hangs in a system call).
        """
        end_group(self.identity, grace_s, marks=self._marks)
        return self.wait(KILL_S_MAX)

    def _watch(self) -> None:
        self._leader.wait()
        self._ended.set()


def kill_leftover(identity: Identity | None, marks: Mapping[str, str] | None = None, grace_s: float = 0.0) -> bool:
    """End a group that an earlier process of ours has started; True when anything of it still ran.

    That its number was given to somebody else meanwhile is noticed, and nobody else is touched. Where its number was
    never written down (None), the marks alone have to tell.
    """
    return end_group(identity, grace_s, marks=marks)


def end_group(
    identity: Identity | None, grace_s: float, clock: Clock | None = None, marks: Mapping[str, str] | None = None
) -> bool:
    """TERM to everybody in the group, KILL to whoever is left after `grace_s`; True when anybody was there."""
    clock = clock or SystemClock()
    members = _members(identity, _marked(marks))
    if not members:
        return False
    deadline = clock.monotonic() + grace_s
    if grace_s > 0:
        _signal(members, identity, signal.SIGTERM)
        pause_s = LOOK_EVERY_S
        while clock.monotonic() < deadline and (members := _members(identity, members)):
            threading.Event().wait(pause_s)
            pause_s = min(2 * pause_s, LOOK_EVERY_S_MAX)
    deadline = clock.monotonic() + KILL_S_MAX
    # Looked at again after each blow: who was being forked while we listed the others is there on the next round.
    while (members := _members(identity, members | _marked(marks))) and clock.monotonic() < deadline:
        _signal(members, identity, signal.SIGKILL)
        threading.Event().wait(LOOK_EVERY_S)
    return True


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _marked(marks: Mapping[str, str] | None) -> set[psutil.Process]:
    """The processes of this user that were started with all of these variables: a way out of a group, not of these."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter() if marks else ():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if marks and all(environment.get(name) == value for name, value in marks.items()):
                found.add(process)
    return found


def _members(identity: Identity | None, known: set[psutil.Process]) -> set[psutil.Process]:
    """Everybody who lives in the group or session of `identity`, who of `known` still lives, and all their children.

    The kernel gives a number out again only when no group and no session of that number is left. So a process that
    has the number but not the start time proves that nobody of ours is there any more.
    """
    everybody = list(psutil.process_iter())
    group = identity.pid if identity is not None and _is_still_its_own(identity) else None
    found = {process for process in everybody if process in known or (group and _belongs(process.pid, group))}
    children: dict[int, list[psutil.Process]] = {}
    for process in everybody:
        children.setdefault(_parent_of(process), []).append(process)
    to_visit = [process.pid for process in found]
    while to_visit:
        born = set(children.pop(to_visit.pop(), ()))
        to_visit += [process.pid for process in born - found]
        found |= born
    return {process for process in found if _lives(process)}


def _is_still_its_own(identity: Identity) -> bool:
    leader = identity_of(identity.pid)
    return is_of_this_boot(identity) and (leader is None or leader == identity)


def _parent_of(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return -1  # it ended between two looks


def _belongs(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group or os.getsid(pid) == group
    except (ProcessLookupError, PermissionError):
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _signal(members: set[psutil.Process], identity: Identity | None, number: signal.Signals) -> None:
    """Signal the group in one stroke, so that no member sees another end first, and then whoever left the group."""
    group = identity.pid if identity is not None else None
    others = {process for process in members if _group_of(process.pid) != group}
    if group is not None and others != members:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for process in others:
        with suppress(psutil.Error):  # ended meanwhile, or not ours to signal: the next look decides
            process.send_signal(number)  # psutil compares start times before it signals


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
