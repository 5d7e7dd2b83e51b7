"""`greenroom up`: starts the server, this machine's daemon and the project's team, and restarts what exits."""

import os
import shlex
import shutil
import sys
import threading
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import msgspec

import greenroom
from greenroom.cli import errors
from greenroom.cli.apply_project import apply_project, send_first_messages
from greenroom.cli.child_process import ChildProcess
from greenroom.cli.display_text import pad_text, text_width
from greenroom.client.api_client import ApiClient
from greenroom.clock import Clock, SystemClock
from greenroom.domain.errors import AlreadyRunning, ConfigurationError, GreenroomError, NotFound, Unavailable
from greenroom.exit_codes import ExitCode
from greenroom.file_lock import ENDING, WAITING, FileLock, acquire_lock, read_holder
from greenroom.process.exit_signals import Shutdown
from greenroom.settings import paths
from greenroom.settings.resolve import DEFAULT_URL, Settings, find_token, is_loopback
from greenroom.wire.replies import RoomView

PERMANENT_CODES = frozenset({ExitCode.CONFIGURATION, ExitCode.NOT_ALLOWED})
DAEMON_FINAL_CODES = {
    ExitCode.DONE: "was stopped and is not restarted; to start it again: ",
    ExitCode.CONFLICT: "was superseded by another daemon of this machine's name; the server keeps running. Once that "
    "daemon is stopped, or registered as another machine: ",
}
"""By exit code: why the daemon is not restarted. The command that starts it is appended."""
POLL_INTERVAL_S = 0.05
READY_S_MAX = 300.0
"""Seconds after which a start counts as hung. A child that exits is noticed at once; a busy machine is only slow."""
WAIT_REPORT_INTERVAL_S = 10.0
DAEMON_STOP_S = 25.0
SERVER_STOP_S = 10.0
DATABASE = "GREENROOM_DATABASE"
OWN_VARIABLES = ("GREENROOM_TOKEN", "GREENROOM_URL", "GREENROOM_DATA_DIR", DATABASE)
LOOPBACK_OF_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


class StartInterrupted(Exception):
    """Raised from a wait when `up` is to stop."""


class MachineFile(msgspec.Struct):
    """The fields of `machine.json` that are needed here."""

    id: str


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Start everything and keep it running until a signal; then stop the daemon with its agents, then the server."""
    lock, earlier = lock_data_dir(settings.data_dir, err)
    with lock:
        return run_services(LocalServices(arguments, settings, out, err, lock=lock, earlier=earlier))


def run_services(services: "LocalServices") -> int:
    """Start the services, wait for a signal or a failure, and stop them; the exit code."""
    with services.shutdown.handle_signals():
        opening = threading.Thread(target=services.start, name="opening", daemon=True)
        opening.start()
        code = services.shutdown.wait()
        services.stop()
        opening.join()
    return code


def lock_data_dir(data_dir: Path, err: TextIO) -> tuple[FileLock, frozenset[int]]:
    """Lock the data directory for this `up`; the lock, and the processes of an earlier `up` that was killed.

    Waits for an `up` that is ending. Raises AlreadyRunning, with the address, if another one runs on the directory, or
    a server that no earlier `up` started: one that it did start ends, as its `up` has ended.
    """
    path = paths.up_lock(data_dir)
    pid, text = read_holder(path)
    if text.startswith(ENDING):
        print(f"up: waiting until an earlier `greenroom up` (process {pid}) has ended", file=err, flush=True)
    while text.startswith(ENDING):
        threading.Event().wait(POLL_INTERVAL_S)
        pid, text = read_holder(path)
    earlier = read_started(data_dir)
    server, waiting = read_holder(paths.server_lock(data_dir))
    if pid is None and (server is None or server in earlier):
        lock = acquire_lock(path, "`greenroom up`")
        lock.write_info(" ".join(map(str, earlier)))
        return lock, earlier
    where = f"an address that it has not reported yet{waiting and f' ({waiting})'}"
    url = read_file(paths.server_url(data_dir)) or where
    raise AlreadyRunning(
        f"Greenroom is already running on {data_dir}: process {server or pid} at {url}.",
        "Use that one (`greenroom status`), stop it, or choose another --data-dir and --listen.",
    )


def read_started(data_dir: Path) -> frozenset[int]:
    """The process ids of the server and the daemon that the last `up` on the data directory has started."""
    _, _, started = read_file(paths.up_lock(data_dir)).partition("\n")
    return frozenset(int(word) for word in started.split() if word.isdigit())


class LocalServices:
    """The server and the daemon as child processes, and the messages about them."""

    def __init__(
        self,
        arguments: Namespace,
        settings: Settings,
        out: TextIO,
        err: TextIO,
        clock: Clock | None = None,
        lock: FileLock | None = None,
        earlier: frozenset[int] = frozenset(),
    ) -> None:
        self.shutdown = Shutdown()
        self._first_messages = arguments.say
        self._settings = settings
        self._out, self._err = out, err
        self._clock = clock or SystemClock()
        self._lock, self._earlier = lock, earlier
        self._url = ""
        self._session: ApiClient | None = None
        self._listen = arguments.listen or listen_address(settings.url)
        self._is_closing = threading.Event()
        self._restart_timeouts()
        # The children hold the reading end, only this process the writing one: however it ends, they read end of file.
        self._leash, self._held = os.pipe()
        environ = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
        environ |= {"PYTHONPATH": os.pathsep.join(python_path(os.environ))} if "PYTHONPATH" in environ else {}
        # Passed to the server alone, and not on its command line, which all users can read: it may hold a password.
        database = {DATABASE: settings.database} if settings.database else {}
        child = partial(
            ChildProcess,
            inherited_fd=self._leash,
            limits=settings.limits,
            clock=self._clock,
            report=self._tell,
            on_permanent_failure=self.shutdown.request,
            on_start=self._record_started,
        )
        self._server = child(
            "server", self._server_command, environ={**environ, **database}, permanent_codes=PERMANENT_CODES
        )
        self._daemon = child(
            "daemon",
            self._daemon_command,
            environ=environ,
            permanent_codes=PERMANENT_CODES,
            final_codes={code: reason + self._starts_daemon() for code, reason in DAEMON_FINAL_CODES.items()},
        )

    def start(self) -> None:
        """Start everything in order. Runs on its own thread, because the main thread waits for the end."""
        try:
            self._wait_for_earlier("server", paths.server_lock(self._settings.data_dir))
            self._wait_for_earlier("daemon", paths.daemon_lock(self._settings.data_dir))
            paths.server_url(self._settings.data_dir).unlink(missing_ok=True)  # left by an earlier server
            self._tell("starting the server")
            self._server.start()
            session = self._wait_for_server()
            self._tell("starting the daemon")
            self._daemon.start()
            machine = self._wait_for_machine(session)
            project = self._settings.project
            room = None if project is None else apply_project(session, project, machine, self._tell)
            if room is not None:
                send_first_messages(session, room, self._first_messages, self._tell)
            print("\n".join(self._welcome(room)), file=self._out, flush=True)
        except StartInterrupted:
            pass
        except GreenroomError as error:
            self._tell(errors.format_error(error))
            self.shutdown.request(errors.exit_code(error))

    def stop(self) -> None:
        """Stop the daemon and its agents, then the server. No process is left."""
        self._is_closing.set()
        if self._session is not None:
            self._session.give_up()
        self._tell("stopping")
        self._record_started(f"{ENDING}\n")
        self._daemon.stop(DAEMON_STOP_S)
        self._server.stop(SERVER_STOP_S)

    def _tell(self, text: str) -> None:
        print(f"up: {text}", file=self._err, flush=True)

    # The children.

    def _command(self, *words: str) -> list[str]:
        return [*own_program(os.environ), *words, "--data-dir", str(self._settings.data_dir)]

    def _server_command(self) -> list[str]:
        # A server that has answered had a store: if that is gone, an empty one in its place would hide it.
        restart = ["--require-store"] if self._url else []
        return self._command("server", "--listen", self._listen, "--follow", str(self._leash), *restart)

    def _daemon_command(self) -> list[str]:
        return self._command("daemon", "start", "--url", self._url, "--follow", str(self._leash), *self._config())

    def _config(self) -> list[str]:
        """The arguments by which another process finds the same project from any directory."""
        project = self._settings.project
        return ["--config", str(project.path)] if project is not None else []

    def _starts_daemon(self) -> str:
        """The command that starts the daemon again."""
        return shlex.join(["greenroom", "daemon", "start", *self._config()])

    def _record_started(self, state: str = "") -> None:
        """Record the children in the lock's file, so that the next `up` waits for them should this one be killed."""
        pids = [str(child.pid) for child in (self._server, self._daemon) if child.pid is not None]
        if self._lock is not None:
            with suppress(OSError):  # the disk is full: the next `up` then refuses while they end
                self._lock.write_info(state + " ".join(pids))

    def _wait_for_earlier(self, name: str, path: Path) -> None:
        """Wait until the lock is free, if its holder is one of an earlier `up`, or says that it is ending."""
        is_reported = False
        while True:
            pid, text = read_holder(path)
            if pid is None or not (pid in self._earlier or text == ENDING):
                return
            if not is_reported:
                self._tell(f"waiting until an earlier {name} (process {pid}) has ended")
                is_reported = True
            self._pause(f"an earlier {name} (process {pid}) has not ended")

    # Waiting for the children.

    def _wait_for_server(self) -> ApiClient:
        """Wait until the server answers; return a session with it. A restarted server gets the same address."""
        while not (url := read_file(paths.server_url(self._settings.data_dir))):
            if read_holder(paths.server_lock(self._settings.data_dir))[1].startswith(WAITING):
                self._restart_timeouts()  # it has printed what it waits for, and waits as long as it takes
            self._pause("the server has not reported its address")
        parts = urlsplit(url)
        self._listen = parts.netloc
        host = LOOPBACK_OF_WILDCARD.get(parts.hostname or "", "")
        self._url = f"http://{host}:{parts.port}" if host else url
        token = find_token(self._url, self._settings.data_dir, {})[0]
        session = self._session = ApiClient(self._url, token, self._settings.limits, patience_s=READY_S_MAX)
        while True:
            with suppress(Unavailable):
                session.healthz()
                return session
            self._pause("the server does not answer")

    def _wait_for_machine(self, session: ApiClient) -> str:
        """Wait until the daemon has registered this machine; return its id. Agent specs need a registered machine."""
        path = paths.machine(self._settings.data_dir)
        impatient = session.with_patience(0.0)  # no retries of its own: `_pause` reports what is missing
        while True:
            with suppress(NotFound, Unavailable, msgspec.MsgspecError):
                machine = msgspec.json.decode(read_file(path), type=MachineFile).id
                if impatient.machine(machine).daemon_connected:
                    return machine
            self._pause("the daemon has not registered this machine")

    def _restart_timeouts(self) -> None:
        self._started_at = self._clock.monotonic()
        self._reports_at = self._started_at + WAIT_REPORT_INTERVAL_S

    def _pause(self, what: str) -> None:
        """Wait `POLL_INTERVAL_S`; report `what` is missing now and then. Raises Unavailable, Interrupted."""
        now = self._clock.monotonic()
        waited_s = now - self._started_at
        if waited_s >= READY_S_MAX:
            raise Unavailable(f"After {READY_S_MAX:g} s {what}.", "Check the messages above, then start again.")
        if now >= self._reports_at:
            self._reports_at = now + WAIT_REPORT_INTERVAL_S
            self._tell(f"still starting after {waited_s:.0f} s: {what}")
        if self._is_closing.wait(POLL_INTERVAL_S):
            raise StartInterrupted

    # Messages.

    def _welcome(self, room: RoomView | None) -> list[str]:
        greenroom = program_name()
        name = room.name if room is not None else "ROOM"
        roles = f"{room.name}: {', '.join(role.name for role in room.roles)}" if room is not None else "none yet"
        return [
            "",
            f"Greenroom is up at {self._url}",
            f"  data    {self._settings.data_dir}",
            f"  room    {roles}",
            "",
            "In another terminal:",
            *(f"  export {variable}={shlex.quote(value)}" for variable, value in self._exports()),
            *align_columns(
                *([] if room is not None else [(f"{greenroom} room create ROOM --roles A,B", "create a room")]),
                (f'{greenroom} send {name} "..."', "give the room work"),
                (f"{greenroom} watch {name}", "follow its events"),
                (f"{greenroom} status --watch", "see rooms, agents and machines"),
            ),
            "",
            "Try a failure; what you kill is restarted by itself:",
            *align_columns(
                *(
                    (f"kill -9 {child.pid}", what)
                    for child, what in (
                        (self._server, "the server"),
                        (self._daemon, "the daemon; its agents keep running without it"),
                    )
                    if child.pid is not None
                ),
            ),
            "",
            "Ctrl-C stops everything.",
        ]

    def _exports(self) -> list[tuple[str, str]]:
        """The variables that another terminal needs to find this server, if it is not the default one."""
        environ = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
        exports = []
        if self._url != DEFAULT_URL:
            exports.append(("GREENROOM_URL", self._url))
        default = None
        with suppress(ConfigurationError):  # without a home there is no default
            default = paths.default_data_dir(environ)
        if self._settings.data_dir != default:
            exports.append(("GREENROOM_DATA_DIR", str(self._settings.data_dir)))
        return exports


def align_columns(*rows: tuple[str, str]) -> list[str]:
    """Align commands with their purposes."""
    width = max(text_width(command) for command, _ in rows)
    return [f"  {pad_text(command, width)}   {purpose}" for command, purpose in rows]


def own_program(environ: Mapping[str, str]) -> list[str]:
    """How to start another process of this program, whatever folder it is started in and whatever the locale is.

    Neither a module in that folder (`-P`) nor one that a variable of Python names (`-E`) replaces one of Python's own.
    The variables count only where this program itself is found by them.
    """
    folder = os.path.realpath(Path(greenroom.__file__).parents[1])
    is_found_by_variable = "PYTHONHOME" in environ or folder in map(os.path.realpath, python_path(environ))
    return [sys.executable, *([] if is_found_by_variable else ["-E"]), "-P", "-X", "utf8", "-m", "greenroom"]


def python_path(environ: Mapping[str, str]) -> list[str]:
    """The folders of PYTHONPATH that are the same in every working directory."""
    return [folder for folder in environ.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(folder)]


def listen_address(url: str) -> str:
    """Where to listen so that this machine's commands find the server: at `url` if that is a loopback address."""
    return urlsplit(url if is_loopback(url) else DEFAULT_URL).netloc


def program_name() -> str:
    """How this command is called from a shell in this directory."""
    command, folder = Path(sys.argv[0]), paths.working_directory()
    if shutil.which("greenroom") or command.name != "greenroom":
        return "greenroom"
    command = folder / command
    return str(command.relative_to(folder)) if command.is_relative_to(folder) else str(command)


def read_file(path: Path) -> str:
    """The content of a small file, stripped; empty if it does not exist."""
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
