"""The shim: starts one command, keeps its output in files of limited size, and records how it ended.

It is a program of its own that uses only the standard library, and runs as a copy in the folder of the run. It runs as
long as the command, even if the process that started it ends, and there may be hundreds of it. It leads the command's
session and process group, so that the group's number is not used again while a process is in it.
When the command has ended, the shim ends what it left, and then itself.
Limits: if the shim itself is killed, the exit status of the command is lost, and so are those of its processes that
left its group and session and have another environment. Other systems than Linux have no subreaper: there these are
never found.
"""

import errno
import os
import select
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress

FATAL = {signal.SIGILL, signal.SIGFPE, signal.SIGSEGV, signal.SIGBUS}
CHUNK_BYTES = 64 * 1024
PIPE_BYTES_MAX = 1024 * 1024
"""No pipe holds more than this; what is read beyond it was written after the command had ended."""
RETRY_MS = 250
LOOK_MS = 50
KILL_ROUNDS_MAX = 100
EXIT = "exit.json"
PROGRAM = "shim.pyc"
PR_SET_CHILD_SUBREAPER = 36
FOLDER_REMOVED = (errno.ENOENT, errno.ENOTDIR)
"""Errors that mean that the folder was removed: then nothing more has to be written to it."""


class NotStarted(Exception):
    """The command was not started. Arguments: a keyword for the reason, an error number, and a detail."""


class StreamCopier:
    """Copies one stream of the command from its pipe into files of at most `bytes_max` bytes in total.

    The first half of the bytes goes to `path`, the others to `path.OFFSET`, two files at a time: the older is removed
    when the newer is full. A disk error loses nothing: what was read is written later, and nothing more is read until
    then.
    """

    def __init__(self, path: str, bytes_max: int) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.is_open = True
        self.pending = b""
        self._path = path
        self._offset = 0
        self._room = bytes_max // 2
        self._segment_bytes = max(1, bytes_max // 4)
        self._segments: list[str] = []
        self._file = open_new(path)

    def read(self) -> bool:
        """Read what is in the pipe, up to one chunk; False when it is empty or closed."""
        try:
            chunk = os.read(self.reading, CHUNK_BYTES)
        except BlockingIOError:
            return False
        self.is_open = bool(chunk)
        self.pending += chunk
        return self.is_open

    def finish(self) -> None:
        """Read what the command had written when it ended, without waiting for other processes that hold the pipe."""
        while len(self.pending) < PIPE_BYTES_MAX and self.is_open and self.read():
            pass
        self.is_open = False
        os.close(self.reading)

    def write(self) -> bool:
        """Write what was read; False when the disk accepts no writes for now."""
        try:
            while self.pending:
                if self._room == 0:
                    self._begin_segment()
                written = os.write(self._file, self.pending[: self._room])
                self.pending = self.pending[written:]
                self._room -= written
                self._offset += written
        except OSError as error:
            if error.errno not in FOLDER_REMOVED:
                return False
            self.pending = b""
        return True

    def sync(self) -> None:
        """Sync the file to disk, before the exit code is recorded."""
        with suppress(OSError):  # not every file system supports it; the data was written
            os.fsync(self._file)

    def _begin_segment(self) -> None:
        if len(self._segments) > 1:
            os.unlink(self._segments[0])
            del self._segments[0]
        segment = f"{self._path}.{self._offset}"
        file = open_new(segment)
        os.close(self._file)
        self._file, self._room = file, self._segment_bytes
        self._segments.append(segment)


class CommandProcesses:
    """All processes of the command: lists them, and ends them, with a grace period of `grace_s`.

    On Linux this process adopts the orphans among them (it is their subreaper), so that no process can leave: neither
    with another session and group, nor with another environment. Elsewhere those that left both are not found.
    """

    def __init__(self, grace_s: float, marks: list[bytes]) -> None:
        self.adopts_orphans = become_subreaper()
        self.is_ending = False
        self.is_grace_over = False
        self._grace_s = grace_s
        self._marks = marks

    def begin_end(self) -> None:
        """Send SIGTERM to all of them, and start the grace period."""
        self.is_ending = True
        signal.setitimer(signal.ITIMER_REAL, max(self._grace_s, 0.001))
        for number in (signal.SIGTERM, signal.SIGCONT):
            os.kill(0, number)
            signal_all([pid for pid, group in self.list_others().items() if group != os.getpid()], number)

    def kill_others(self) -> None:
        """Kill all that are left."""
        for _ in range(KILL_ROUNDS_MAX):
            collect_children()
            if not (others := self.list_others()):
                break
            signal_all(others, signal.SIGKILL)
            select.poll().poll(LOOK_MS)

    def list_others(self) -> dict[int, int]:
        """Each of them with its group, by process number.

        These are all in the session or group of this process, all with the marks of the run, and their descendants.
        Without /proc there is no list, and only the group as a whole can be signalled.
        """
        own_pid, parents, groups, found = os.getpid(), {}, {}, {os.getpid()}
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()) if os.path.exists("/proc") else ():
            fields = read_stat_fields(pid)
            if fields is None or fields[0] in (b"Z", b"X"):
                continue
            parents[pid], groups[pid] = int(fields[1]), int(fields[2])
            if own_pid in (groups[pid], int(fields[3])) or self._bears_marks(pid):
                found.add(pid)
        while new_children := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= new_children
        return {pid: groups[pid] for pid in found - {own_pid}}

    def _bears_marks(self, pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            return False
        return bool(self._marks) and all(mark in variables for mark in self._marks)


class ParentDeathPipe:
    """The parent-death pipe: when the process that started the shim ends, all processes of the command are ended."""

    def __init__(self, descriptor: int, processes: CommandProcesses) -> None:
        self.descriptor = descriptor
        self.has_parent_ended = False
        self._processes = processes

    def check_parent(self) -> None:
        """Begin to end all processes of the command, if the starter has ended."""
        if not os.read(self.descriptor, 1):
            self.has_parent_ended = True
            self._processes.begin_end()


def main(arguments: list[str]) -> None:
    """Run the command that is in the folder's file `command`."""
    folder, directory, bytes_max, grace_s, character_type, names, ready, parent_descriptor = arguments
    wakeup = survive_signals()
    with suppress(OSError):
        os.unlink(f"{folder}/{PROGRAM}")  # this very program, which is loaded by now
    for descriptor in {int(ready), int(parent_descriptor)} - {-1}:
        os.set_inheritable(descriptor, False)
    if character_type:
        os.environ["LC_CTYPE"] = character_type
    else:
        os.environ.pop("LC_CTYPE", None)  # the interpreter sets it for itself; the command must not get it
    marks = [os.fsencode(f"{name}={os.environ.get(name, '')}") for name in names.split(",") if name]
    processes = CommandProcesses(float(grace_s), marks)
    try:
        check_directory(directory)
        journals = record_and_open(folder, int(bytes_max))
        # If the starter is killed here, the next process finds this shim on record, or its refusal.
        await_go(int(ready))
        child = start_command(folder, journals)
    except NotStarted as refusal:
        report_not_started(folder, int(ready), *refusal.args)
        return
    try_write(folder, "command.json", encode_identity(child))
    try_send_line(int(ready), "begun")
    os.close(int(ready))
    parent_pipe = ParentDeathPipe(int(parent_descriptor), processes)
    poll = EventPoll(processes, parent_pipe, wakeup)
    code = copy_until_end(child, journals, poll)
    if code is not None:
        for journal in journals:
            journal.sync()
        record_end(folder, encode_exit(code), poll)
    end_others(poll)
    if parent_pipe.has_parent_ended:
        os.kill(0, signal.SIGKILL)  # also what no list shows


def survive_signals() -> int:
    """Survive the signals that are sent to the group; a descriptor from which each signal can be read as a byte.

    Done by handlers, and not by ignoring or blocking the signals: the command would inherit that.
    """
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL if number in FATAL else lambda number, frame: None)
    return reading


def check_directory(directory: str) -> None:
    """Raise Refused if this is not the directory that was allowed: a part of its path may be a symlink by now."""
    try:
        found = os.getcwd()
    except OSError as error:
        raise NotStarted("moved", error.errno, "nowhere") from error
    if found != directory:
        raise NotStarted("moved", 0, found)


def record_and_open(folder: str, bytes_max: int) -> list[StreamCopier]:
    """Record this process, and create the files of the streams. Raises Refused."""
    try:
        write_atomically(folder, "shim.json", encode_identity(os.getpid()))
        return [StreamCopier(f"{folder}/{name}", bytes_max) for name in ("stdout", "stderr")]
    except OSError as error:
        raise NotStarted("disk", error.errno, "") from error


def start_command(folder: str, journals: list[StreamCopier]) -> int:
    """Start the command in this group, with default signal handling; its process number. Raises Refused.

    The command is read from a file, and is not in this process's arguments: a search for the command by its words, as
    `pkill -f` does, must not match the shim.
    """
    try:
        with open(f"{folder}/command", "rb") as file:
            command = file.read().split(b"\0")
        streams = [os.open(f"{folder}/stdin", os.O_RDONLY), *(journal.writing for journal in journals)]
        child = os.posix_spawnp(
            command[0],
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)],
        )
    except OSError as error:
        raise NotStarted("program", error.errno, "") from error
    for stream in streams:
        os.close(stream)
    return child


class EventPoll:
    """Waits for output, a signal, or the end of the starter."""

    def __init__(self, processes: CommandProcesses, parent_pipe: ParentDeathPipe, wakeup: int) -> None:
        self.processes = processes
        self._parent_pipe = parent_pipe
        self._wakeup = wakeup

    def wait_for_event(self, journals: list[StreamCopier], wait_ms: int | None) -> None:
        """Wait at most `wait_ms`."""
        parent_pipe, poll = self._parent_pipe, select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if parent_pipe.descriptor >= 0 and not parent_pipe.has_parent_ended:
            poll.register(parent_pipe.descriptor, select.POLLIN)
        for journal in journals:
            if journal.is_open and not journal.pending:
                poll.register(journal.reading, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(wait_ms)]
        if self._wakeup in ready and signal.SIGALRM in os.read(self._wakeup, CHUNK_BYTES) and self.processes.is_ending:
            self.processes.is_grace_over = True
        if parent_pipe.descriptor in ready:
            parent_pipe.check_parent()


def copy_until_end(child: int, journals: list[StreamCopier], poll: EventPoll) -> int | None:
    """Copy the output until the command has ended and all is written; its exit code, below 0 for a signal.

    None if the command has to be killed, since the starter has ended and the grace period is over.
    """
    code = None
    while True:
        is_kept = not [journal for journal in journals if not journal.write()]
        if poll.processes.is_grace_over or (code is not None and is_kept):
            return code
        poll.wait_for_event(journals, None if is_kept else RETRY_MS)
        for journal in journals:
            if journal.is_open and not journal.pending:
                journal.read()
        ended = collect_children()
        if child in ended:
            code = os.waitstatus_to_exitcode(ended[child])
            for journal in journals:
                journal.finish()


def record_end(folder: str, text: str, poll: EventPoll) -> None:
    """Record how the command ended; retry while the disk accepts no writes."""
    while not poll.processes.is_grace_over:
        try:
            write_atomically(folder, EXIT, text)
            return
        except OSError as error:
            if error.errno in FOLDER_REMOVED:
                return
        poll.wait_for_event([], RETRY_MS)


def end_others(poll: EventPoll) -> None:
    """End what the command left: SIGTERM, the grace period, SIGKILL. Where orphans are not adopted, the starter does.

    If the starter has ended, SIGTERM was sent already.
    """
    processes = poll.processes
    if not processes.is_ending:
        if not processes.adopts_orphans or not has_children():
            return
        processes.begin_end()
    while not processes.is_grace_over and processes.list_others():
        poll.wait_for_event([], LOOK_MS)
        collect_children()
    processes.kill_others()


def become_subreaper() -> bool:
    """Have the kernel make this process the parent of its orphaned descendants; whether that is possible here."""
    if sys.platform != "linux":
        return False
    try:
        import ctypes  # noqa: PLC0415 (no other system needs it, and a Python may lack it)

        prctl = ctypes.CDLL(None).prctl
        prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
        return bool(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def collect_children() -> dict[int, int]:
    """Collect the children that have ended, adopted ones too; the wait status of each, by process number."""
    ended = {}
    with suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG))[0]:
            ended[child[0]] = child[1]
    return ended


def has_children() -> bool:
    """Whether a child is left, running or not. A subreaper without children has no descendants."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(OSError):  # it ended meanwhile, or may not be signalled
            os.kill(pid, number)


def encode_exit(code: int) -> str:
    return f'{{"code":null,"signal":{-code}}}' if code < 0 else f'{{"code":{code},"signal":null}}'


def report_not_started(folder: str, ready: int, word: str, number: int, detail: str) -> None:
    """Report to the starter why the command was not started, and record it for a later process."""
    try_send_line(ready, f"{word} {number} {detail}")
    try_write(folder, EXIT, f'{{"code":null,"signal":null,"refused":"{word}"}}')


def await_go(ready: int) -> None:
    """Send `ready`, and wait for the starter's byte, which a killed starter never sends. Raises Refused."""
    send_line(ready, "ready")
    try:
        has_word = bool(os.read(ready, 1))
    except OSError as error:
        raise NotStarted("alone", error.errno, "") from error
    if not has_word:
        raise NotStarted("alone", errno.EPIPE, "")


def send_line(ready: int, line: str) -> None:
    """Send a line to the starter. Raises Refused when the starter has ended."""
    try:
        os.write(ready, os.fsencode(line) + b"\n")
    except OSError as error:
        raise NotStarted("alone", error.errno, "") from error


def try_send_line(ready: int, line: str) -> None:
    with suppress(NotStarted):
        send_line(ready, line)


def write_atomically(folder: str, name: str, text: str) -> None:
    """Write a file atomically. Raises OSError."""
    unfinished = f"{folder}/{name}.unfinished"
    file = open_new(unfinished)
    try:
        os.write(file, text.encode())
        if name == EXIT:
            os.fsync(file)  # an end without an exit code counts as a failure; so keep the code through a power loss
    finally:
        os.close(file)
    os.rename(unfinished, f"{folder}/{name}")


def try_write(folder: str, name: str, text: str) -> None:
    """Write a file atomically, if that is possible; an error is ignored."""
    with suppress(OSError):
        write_atomically(folder, name, text)


def open_new(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def encode_identity(pid: int) -> str:
    """Encode a process as `process/identity.py` reads it; without /proc, with an empty start time."""
    fields, started = read_stat_fields(pid), ""
    if fields is not None:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            started = f"{file.read().strip()}:{fields[19].decode()}"
    return f'{{"pid":{pid},"started":"{started}"}}'


def read_stat_fields(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat behind the name: state, parent, group, session; the twentieth is the start time."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
