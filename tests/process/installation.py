"""Starts a Greenroom installation in a folder of its own: server, daemon and agents as real processes.

Everything is started by the `greenroom` command, as a user starts it, and inspected by the command and the API.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.process.api import Api, EventReader
from tests.process.processes import StartedProcess, is_alive, kill_all, wait_until_none_left
from tests.process.proxy import Proxy
from tests.waiting import PATIENCE_S, NotYet, wait_until

PROGRAM = (sys.executable, "-m", "greenroom")
SCRIPTED_AGENT = Path(__file__).with_name("scripted_agent.py")
PASSED_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE")
LOOPBACK = "127.0.0.1"
ROOM = "shop"
ROLES = ("builder", "reviewer")

BASE_DURATIONS = {
    "GREENROOM_HEARTBEAT_INTERVAL_S": "40",
    "GREENROOM_HEARTBEAT_TTL_S": "3600",
    "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "40",
    "GREENROOM_DAEMON_HEARTBEAT_TTL_S": "3600",
    "GREENROOM_REQUEST_TIMEOUT_S": "300",
    "GREENROOM_RETRY_PAUSE_S": "0.5",
    "GREENROOM_FIRST_CONTACT_S": "300",
    "GREENROOM_TASK_ACKNOWLEDGED_TIMEOUT_S": "3600",
    "GREENROOM_TAKEOVER_GRACE_S": "3600",
    "GREENROOM_LOOP_LATE_AFTER_S": "300",
    "GREENROOM_STOP_GRACE_S": "1",
    "GREENROOM_RESTART_BACKOFF_S_MIN": "0.3",
    "GREENROOM_RESTART_BACKOFF_S_MAX": "1",
    "GREENROOM_CHILD_RESTART_DELAY_S_MIN": "0.1",
    "GREENROOM_CHILD_RESTART_DELAY_S_MAX": "0.5",
}
"""Durations under which no lease expires and no request times out, however slow the computer is.

What only a heartbeat reports comes late then, and what waits for either a report or a timeout waits for the report.
"""

SHORT_LEASES = {
    "GREENROOM_HEARTBEAT_INTERVAL_S": "2",
    "GREENROOM_HEARTBEAT_TTL_S": "8",
    "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "2",
    "GREENROOM_DAEMON_HEARTBEAT_TTL_S": "8",
    "GREENROOM_SWEEP_INTERVAL_S": "0.2",
    "GREENROOM_TASK_LOST_AFTER_S": "2",
}
"""Additional durations of a server in tests in which a lease has to expire.

The server's answers say how often to beat. So clients with the long durations beat as often, and keep their long
request timeouts. A participant whose lease expires on a slow computer rejoins by itself: tests assert what holds then,
too.
"""

SHORT_REQUEST_TIMEOUT = {
    "GREENROOM_HEARTBEAT_INTERVAL_S": "8",
    "GREENROOM_HEARTBEAT_TTL_S": "3600",
    "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "8",
    "GREENROOM_DAEMON_HEARTBEAT_TTL_S": "3600",
}
"""Durations of a client behind a connection that stalls: its requests time out after two seconds."""

FREQUENT_HEARTBEATS = {"GREENROOM_TAKEOVER_GRACE_S": "4"}
"""Makes `greenroom work` beat every two seconds while it works: twice within the time for which a takeover waits."""

RARE_HEARTBEATS = {
    "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "1000",
    "GREENROOM_DAEMON_HEARTBEAT_TTL_S": "4000",
    "GREENROOM_CLAIM_WAIT_MAX_S": "1000",
    "GREENROOM_ASSIGNMENTS_WAIT_MAX_S": "1000",
}
"""Durations of a daemon that learns nothing from a heartbeat or from a repeated request during a test."""

LONG_STOP_GRACE = {"GREENROOM_STOP_GRACE_S": "20"}
"""For a daemon that is stopped: its runs exit on SIGTERM, and there is time for that and for reporting it."""


class CommandOutput(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


class Installation:
    """`root` stands in the environment of every process that is started here; so all of them are found again."""

    def __init__(self, root: Path, durations: Mapping[str, str] = BASE_DURATIONS) -> None:
        self.root = root
        self.data_dir = root / "data"
        self.home = root / "home"
        self.home.mkdir(parents=True)
        self.host = LOOPBACK
        self.port = 0
        self.server: StartedProcess | None = None
        self.database_arguments: tuple[str, ...] = ()
        self.server_settings: dict[str, str] = {}
        self.durations = dict(durations)
        self._started: list[StartedProcess] = []
        self._open: list[Proxy | EventReader] = []

    # Starting processes.

    def environment(self, url: str | None = None) -> dict[str, str]:
        """The environment of every process here: of the surrounding environment only what any program needs."""
        passed = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
        own_variables = {"HOME": str(self.home), "GREENROOM_DATA_DIR": str(self.data_dir)}
        if self.host != LOOPBACK and self.port:
            # On another address it is not taken for the server of this data directory.
            own_variables["GREENROOM_TOKEN"] = self.token
        return passed | self.durations | own_variables | ({"GREENROOM_URL": url or self.url} if self.port else {})

    def start(self, *arguments: str, url: str | None = None, **more: str) -> StartedProcess:
        """Start a command in the background."""
        return self.start_wrapped((), *arguments, url=url, **more)

    def start_wrapped(
        self, wrapper: Sequence[str], *arguments: str, url: str | None = None, **more: str
    ) -> StartedProcess:
        """Start a command in the background, by another command that is put in front of it."""
        return self.start_command([*wrapper, *PROGRAM, *arguments], arguments[0], self.environment(url) | more)

    def start_with_output(self, output: int, *arguments: str, wrapper: Sequence[str] = ()) -> StartedProcess:
        """Start a command in the background, which writes both its output streams to a descriptor."""
        return self.start_command([*wrapper, *PROGRAM, *arguments], arguments[0], self.environment(), output)

    def start_command(
        self, command: Sequence[str], verb: str, environment: Mapping[str, str], output: int | None = None
    ) -> StartedProcess:
        """Start a command line in the background. Its log files are named after `verb`."""
        name = f"{len(self._started):02d}-{verb}"
        started = StartedProcess(name, command, environment, self.home, self.root / "logs", output)
        self._started.append(started)
        return started

    def start_with_room(self, **server_settings: str) -> Installation:
        """Start the server, with additional settings, and open a room."""
        self.server_settings = server_settings
        self.start_server()
        self.open_room()
        return self

    def launch_server(self) -> StartedProcess:
        """Launch the server, with the port and the store that it had before; do not wait for it."""
        listen = ("--listen", f"{self.host}:{self.port}")
        self.server = self.start("server", *listen, *self.database_arguments, **self.server_settings)
        return self.server

    def start_server(self) -> StartedProcess:
        """Start the server; it listens on return."""
        server = self.launch_server()
        line = wait_until(lambda: listening(server), "the server listens")
        self.port = int(line.rpartition(":")[2])
        return server

    def start_up(self, config: Path, *arguments: str, **more: str) -> StartedProcess:
        """Start server, daemon and team with `greenroom up`; all of it is up on return."""
        up = self.start("up", "--config", str(config), "--listen", "127.0.0.1:0", *arguments, **more)

        def look() -> bool:
            if up.poll() is not None:
                raise AssertionError(f"`up` exited with {up.poll()}: {up.err}")
            return "Ctrl-C stops everything" in up.out

        wait_until(look, "everything is up")
        self.port = int((self.data_dir / "server.url").read_text().rpartition(":")[2])
        return up

    def process_id(self, name: str) -> int:
        """The process id of the `server` or `daemon` on the data directory. Raises NotYet if there is none."""
        line = (self.data_dir / f"{name}.lock").read_text().partition("\n")[0]
        if not line:
            raise NotYet(f"no {name} runs")
        return int(line)

    def wait_until_replaced(self, name: str, killed: int) -> None:
        """Wait until the server or the daemon runs as another process than the killed one."""

        def look() -> bool:
            if (now := self.process_id(name)) == killed:
                raise NotYet(f"process {killed} holds the lock")
            return is_alive(now)

        wait_until(look, f"the {name} runs again")

    def start_daemon(self, url: str | None = None, config: Path | None = None, **more: str) -> StartedProcess:
        """Start the daemon; it is connected on return, as its log says: the server may still show an earlier daemon."""
        arguments = ("--config", str(config or self.write_team()))
        daemon = self.start("daemon", "start", *arguments, url=url, **more)

        def look() -> bool:
            if daemon.poll() is not None:
                raise AssertionError(f"the daemon exited with {daemon.poll()}: {daemon.err}")
            return "machine connected: " in daemon.err

        wait_until(look, "the daemon is connected")
        return daemon

    def start_work(self, *command: str, role: str = "builder", url: str | None = None, **more: str) -> StartedProcess:
        """Start `work` with a command, or with `scripted_agent.py`; it has joined on return."""
        arguments = ("work", ROOM, "--role", role, "--", *(command or (sys.executable, str(SCRIPTED_AGENT))))
        work = self.start(
            *arguments, url=url, **{"SCRIPTED_AGENT_FOLDER": str(self.agent_folder), **FREQUENT_HEARTBEATS, **more}
        )

        def look() -> Any:
            if work.poll() is not None:
                raise AssertionError(f"`work` exited with {work.poll()}: {work.err}")
            return self.participant(role)

        wait_until(look, "`work` has joined")
        return work

    def proxy(self) -> Proxy:
        proxy = Proxy("127.0.0.1", self.port)
        self._open.append(proxy)
        return proxy

    def event_reader(self) -> EventReader:
        event_reader = EventReader(self.api)
        self._open.append(event_reader)
        return event_reader

    def write_team(self, **agents: str) -> Path:
        """Write a `greenroom.toml` with `scripted_agent.py` as agents; each value adds lines to that agent's table."""
        path = self.home / "greenroom.toml"
        names = ", ".join(f'"{role}"' for role in ROLES)
        tables = "".join(
            f'\n[agents.{role}]\ncommand = ["{{python}}", "-SE", "{SCRIPTED_AGENT}"]\n'
            f'env = {{ SCRIPTED_AGENT_FOLDER = "{self.agent_folder}" }}\n' + agents.get(role, "")
            for role in ROLES
        )
        path.write_text(f'[room]\nname = "{ROOM}"\nroles = [{names}]\n{tables}')
        return path

    # Reading the state.

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def token(self) -> str:
        return (self.data_dir / "operator.token").read_text().strip()

    @property
    def api(self) -> Api:
        return Api(self.url, self.token)

    @property
    def agent_folder(self) -> Path:
        """The folder of the `scripted_agent.py` agents: their journal, and the gate files that they wait for."""
        folder = self.root / "agents"
        folder.mkdir(exist_ok=True)
        return folder

    def run(
        self, *arguments: str, expect: int | None = 0, text: str = "", url: str | None = None, **more: str
    ) -> CommandOutput:
        """Run a command to its end, and assert its exit code."""
        environment = self.environment(url) | more
        done = subprocess.run(
            [*PROGRAM, *arguments], env=environment, cwd=self.home, input=text, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        output = CommandOutput(done.returncode, done.stdout, done.stderr)
        assert expect in (None, output.code), f"greenroom {' '.join(arguments)}: {output}"
        return output

    def open_room(self, *roles: str) -> None:
        self.run("room", "create", ROOM, "--roles", ",".join(roles or ROLES))

    def send(self, text: str, to: str | None = None) -> str:
        """Send the room a user's message; return the id of the task that it opens."""
        body = {"sender": "user", "text": text} | ({"to": to} if to else {})
        task: str = self.api.post(f"rooms/{ROOM}/messages", **body)["task"]["id"]
        return task

    def room(self) -> Any:
        return self.api.get(f"rooms/{ROOM}")

    def role(self, name: str = "builder") -> Any:
        return next(role for role in self.room()["roles"] if role["name"] == name)

    def participant(self, role: str = "builder") -> Any:
        """The participant that is present in a role. Raises NotYet if there is none."""
        found = [each for each in self.room()["participants"] if each["role"] == role]
        if not found:
            raise NotYet(f"no participant is present as {role}")
        return found[0]

    def machine(self) -> Any:
        """The only machine. Raises NotYet if none is registered."""
        found = self.api.get("machines")
        if not found:
            raise NotYet("no machine is registered")
        return found[0]

    def task(self, task: str) -> Any:
        return self.api.get(f"tasks/{task}")

    def wait_for_task(self, task: str, status: str) -> Any:
        def look() -> Any:
            now = self.task(task)
            if now["status"] != status:
                raise NotYet(now)
            return now

        return wait_until(look, f"{task} is {status}")

    def wait_for_status(self, role: str, status: str) -> Any:
        def look() -> Any:
            now = self.role(role)
            if now["status"] != status:
                raise NotYet(now)
            return now

        return wait_until(look, f"{role} is {status}")

    def assign(self, role: str = "builder") -> None:
        """Assign that role's agent of `write_team` to the machine."""
        machine = self.machine()["id"]
        self.run("agent", "set", f"{ROOM}/{role}", "--machine", machine, "--harness", f"{ROOM}.{role}")

    def messages_to_user(self) -> list[str]:
        """The texts of the room's messages to the user, oldest first."""
        return [each["text"] for each in self.api.get(f"rooms/{ROOM}/messages?limit=1000") if each["to"] == "user"]

    def wait_for_long_polls(self, waits: int) -> None:
        """Wait until so many long polls (claims, and daemons' requests for assignments) wait at the server."""
        wait_until(lambda: self.api.metric("greenroom_waits") == waits, f"{waits} long polls wait at the server")

    # Ending.

    def wait_until_none_left(self) -> None:
        wait_until_none_left(str(self.root))

    def close(self) -> None:
        """Terminate everything that still runs, the server last, and assert that no process is left."""
        try:
            servers = [started for started in self._started if started.name.endswith(("-server", "-up"))]
            for started in [each for each in self._started if each not in servers] + servers:
                started.end()
            self.wait_until_none_left()
        finally:
            kill_all(str(self.root))
            for each in self._open:
                each.close()

    def logs(self, characters: int = 6000) -> list[tuple[str, str]]:
        """The end of every process's output, for the report of a failed test."""
        paths = sorted((self.root / "logs").glob("*"))
        texts = [(path.name, path.read_text("utf-8", "replace")[-characters:]) for path in paths]
        if self.server is not None and self.server.poll() is None:
            texts.append(("events", "\n".join(map(format_event, self.api.events()[-80:]))))
        return [(name, text) for name, text in texts if text]


def format_event(event: dict[str, Any]) -> str:
    fields = {name: value for name, value in event["data"].items() if name in ("role", "task", "attempt", "status")}
    return f"{event['at'][11:23]} {event['type']} {fields} ({event['cause']})"


def listening(server: StartedProcess) -> str:
    """The line of the server's log with the address on which it listens."""
    if server.poll() is not None:
        raise AssertionError(f"the server exited with {server.poll()}: {server.err}")
    return next(iter(server.err_lines("listening on http://")), "")


def interrupt(started: StartedProcess) -> int:
    """Send SIGINT, as Ctrl-C does; return the exit code."""
    started.send(signal.SIGINT)
    return started.wait()
