"""Starts a Greenroom installation in a folder of its own: server, daemon and agents as real processes.

Everything is started by the `greenroom` command, as a user starts it, and inspected by the command and the API.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.api import Api, Live
from tests.acceptance.processes import Started, end_all, is_alive, nobody_left
from tests.acceptance.proxy import Proxy
from tests.waiting import PATIENCE_S, NotYet, wait_until

PROGRAM = (sys.executable, "-m", "greenroom")
HAND = Path(__file__).with_name("hand.py")
KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE")
LOOPBACK = "127.0.0.1"
ROOM = "shop"
ROLES = ("builder", "reviewer")

CALM = {
    "GREENROOM_HEARTBEAT_INTERVAL_S": "40",
    "GREENROOM_HEARTBEAT_TTL_S": "3600",
    "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "40",
    "GREENROOM_DAEMON_HEARTBEAT_TTL_S": "3600",
    "GREENROOM_REQUEST_TIMEOUT_S": "300",
    "GREENROOM_RETRY_PAUSE_S": "0.5",
    "GREENROOM_FIRST_CONTACT_S": "300",
    "GREENROOM_TASK_ACKNOWLEDGED_TIMEOUT_S": "3600",
    "GREENROOM_TAKEOVER_GRACE_S": "3600",
    "GREENROOM_HEALER_LATE_S": "300",
    "GREENROOM_STOP_GRACE_S": "1",
    "GREENROOM_RESTART_PAUSE_S_MIN": "0.3",
    "GREENROOM_RESTART_PAUSE_S_MAX": "1",
    "GREENROOM_HOUSE_PAUSE_S_MIN": "0.1",
    "GREENROOM_HOUSE_PAUSE_S_MAX": "0.5",
}
"""Durations under which no lease expires and no request times out, however slow the computer is.

What only a heartbeat reports comes late then, and what waits for either a report or a timeout waits for the report.
"""

LAPSING = {
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

RETRYING = {
    "GREENROOM_HEARTBEAT_INTERVAL_S": "8",
    "GREENROOM_HEARTBEAT_TTL_S": "3600",
    "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "8",
    "GREENROOM_DAEMON_HEARTBEAT_TTL_S": "3600",
}
"""Durations of a client behind a connection that stalls: its requests time out after two seconds."""

OFTEN = {"GREENROOM_TAKEOVER_GRACE_S": "4"}
"""Makes `greenroom work` beat every two seconds while it works: twice within the time for which a takeover waits."""

SELDOM = {
    "GREENROOM_DAEMON_HEARTBEAT_INTERVAL_S": "1000",
    "GREENROOM_DAEMON_HEARTBEAT_TTL_S": "4000",
    "GREENROOM_CLAIM_WAIT_MAX_S": "1000",
    "GREENROOM_WISHES_WAIT_MAX_S": "1000",
}
"""Durations of a daemon that learns nothing from a heartbeat or from a repeated request during a test."""

LET_END = {"GREENROOM_STOP_GRACE_S": "20"}
"""For a daemon that is stopped: its runs exit on SIGTERM, and there is time for that and for reporting it."""


class Said(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


class House:
    """`root` stands in the environment of every process that is started here; so all of them are found again."""

    def __init__(self, root: Path, durations: Mapping[str, str] = CALM) -> None:
        self.root = root
        self.data_dir = root / "data"
        self.home = root / "home"
        self.home.mkdir(parents=True)
        self.host = LOOPBACK
        self.port = 0
        self.server: Started | None = None
        self.store_words: tuple[str, ...] = ()
        self.of_server: dict[str, str] = {}
        self.durations = dict(durations)
        self._started: list[Started] = []
        self._open: list[Proxy | Live] = []

    # Starting processes.

    def environment(self, url: str | None = None) -> dict[str, str]:
        """The environment of every process here: of the surrounding environment only what any program needs."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        own = {"HOME": str(self.home), "GREENROOM_DATA_DIR": str(self.data_dir)}
        if self.host != LOOPBACK and self.port:
            own["GREENROOM_TOKEN"] = (
                self.token
            )  # on another address it is not taken for the server of this data directory
        return kept | self.durations | own | ({"GREENROOM_URL": url or self.url} if self.port else {})

    def start(self, *words: str, url: str | None = None, **more: str) -> Started:
        """Start a command in the background."""
        name = f"{len(self._started):02d}-{words[0]}"
        started = Started(name, [*PROGRAM, *words], self.environment(url) | more, self.home, self.root / "logs")
        self._started.append(started)
        return started

    def open(self, **of_server: str) -> House:
        """Start the server, with `of_server` as additional settings, and open a room."""
        self.of_server = of_server
        self.start_server()
        self.open_room()
        return self

    def launch_server(self) -> Started:
        """Launch the server, with the port and the store that it had before; do not wait for it."""
        listen = ("--listen", f"{self.host}:{self.port}")
        self.server = self.start("server", *listen, *self.store_words, **self.of_server)
        return self.server

    def start_server(self) -> Started:
        """Start the server; it listens on return."""
        server = self.launch_server()
        line = wait_until(lambda: listening(server), "the server listens")
        self.port = int(line.rpartition(":")[2])
        return server

    def start_up(self, config: Path, *words: str, **more: str) -> Started:
        """Start server, daemon and team with `greenroom up`; all of it is up on return."""
        up = self.start("up", "--config", str(config), "--listen", "127.0.0.1:0", *words, **more)

        def look() -> bool:
            if up.poll() is not None:
                raise AssertionError(f"`up` exited with {up.poll()}: {up.err}")
            return "Ctrl-C stops everything" in up.out

        wait_until(look, "everything is up")
        self.port = int((self.data_dir / "server.url").read_text().rpartition(":")[2])
        return up

    def holder(self, name: str) -> int:
        """The process id of the `server` or `daemon` on the data directory. Raises NotYet if there is none."""
        line = (self.data_dir / f"{name}.lock").read_text().partition("\n")[0]
        if not line:
            raise NotYet(f"no {name} runs")
        return int(line)

    def comes_back(self, name: str, killed: int) -> None:
        """Wait until the server or the daemon runs as another process than the killed one."""

        def look() -> bool:
            if (now := self.holder(name)) == killed:
                raise NotYet(f"process {killed} holds the lock")
            return is_alive(now)

        wait_until(look, f"the {name} runs again")

    def start_daemon(self, url: str | None = None, config: Path | None = None, **more: str) -> Started:
        """Start the daemon; it is connected on return, as its log says: the server may still show an earlier daemon."""
        words = ("--config", str(config or self.write_team()))
        daemon = self.start("daemon", "start", *words, url=url, **more)

        def look() -> bool:
            if daemon.poll() is not None:
                raise AssertionError(f"the daemon exited with {daemon.poll()}: {daemon.err}")
            return "machine connected: " in daemon.err

        wait_until(look, "the daemon is connected")
        return daemon

    def start_work(self, *command: str, role: str = "builder", url: str | None = None, **more: str) -> Started:
        """Start `work` with a command, or with `hand.py`; it has joined on return."""
        words = ("work", ROOM, "--role", role, "--", *(command or (sys.executable, str(HAND))))
        work = self.start(*words, url=url, **{"HAND_FOLDER": str(self.hands), **OFTEN, **more})

        def look() -> Any:
            if work.poll() is not None:
                raise AssertionError(f"`work` exited with {work.poll()}: {work.err}")
            return self.seat(role)

        wait_until(look, "`work` has joined")
        return work

    def proxy(self) -> Proxy:
        proxy = Proxy("127.0.0.1", self.port)
        self._open.append(proxy)
        return proxy

    def live(self) -> Live:
        live = Live(self.api)
        self._open.append(live)
        return live

    def write_team(self, **agents: str) -> Path:
        """Write a `greenroom.toml` whose agents are `hand.py`; each value is more lines for that agent's table."""
        path = self.home / "greenroom.toml"
        names = ", ".join(f'"{role}"' for role in ROLES)
        tables = "".join(
            f'\n[agents.{role}]\ncommand = ["{{python}}", "-SE", "{HAND}"]\nenv = {{ HAND_FOLDER = "{self.hands}" }}\n'
            + agents.get(role, "")
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
    def hands(self) -> Path:
        """The folder of the `hand.py` agents: their journal, and the gate files that they wait for."""
        folder = self.root / "hands"
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, *words: str, expect: int | None = 0, text: str = "", url: str | None = None, **more: str) -> Said:
        """Run a command to its end, and assert its exit code."""
        environment = self.environment(url) | more
        done = subprocess.run(
            [*PROGRAM, *words], env=environment, cwd=self.home, input=text, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        said = Said(done.returncode, done.stdout, done.stderr)
        assert expect in (None, said.code), f"greenroom {' '.join(words)}: {said}"
        return said

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

    def seat(self, role: str = "builder") -> Any:
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

    def wish(self, role: str = "builder") -> None:
        """Assign that role's agent of `write_team` to the machine."""
        machine = self.machine()["id"]
        self.run("agent", "set", f"{ROOM}/{role}", "--machine", machine, "--harness", f"{ROOM}.{role}")

    def heard_by_user(self) -> list[str]:
        """The texts of the room's messages to the user, oldest first."""
        return [each["text"] for each in self.api.get(f"rooms/{ROOM}/messages?limit=1000") if each["to"] == "user"]

    def everybody_waits(self, waits: int) -> None:
        """Wait until so many long polls (claims, and daemons' requests for assignments) wait at the server."""
        wait_until(lambda: self.api.metric("greenroom_waits") == waits, f"{waits} long polls wait at the server")

    # Ending.

    def nobody_left(self) -> None:
        nobody_left(str(self.root))

    def close(self) -> None:
        """Terminate everything that still runs, the server last, and assert that no process is left."""
        try:
            servers = [started for started in self._started if started.name.endswith(("-server", "-up"))]
            for started in [each for each in self._started if each not in servers] + servers:
                started.end()
            self.nobody_left()
        finally:
            end_all(str(self.root))
            for each in self._open:
                each.close()

    def logs(self, characters: int = 6000) -> list[tuple[str, str]]:
        """The end of every process's output, for the report of a failed test."""
        paths = sorted((self.root / "logs").glob("*"))
        texts = [(path.name, path.read_text("utf-8", "replace")[-characters:]) for path in paths]
        if self.server is not None and self.server.poll() is None:
            texts.append(("events", "\n".join(map(spell, self.api.events()[-80:]))))
        return [(name, text) for name, text in texts if text]


def spell(event: dict[str, Any]) -> str:
    told = {name: value for name, value in event["data"].items() if name in ("role", "task", "attempt", "status")}
    return f"{event['at'][11:23]} {event['type']} {told} ({event['cause']})"


def listening(server: Started) -> str:
    """The line of the server's log with the address on which it listens."""
    if server.poll() is not None:
        raise AssertionError(f"the server exited with {server.poll()}: {server.err}")
    return next(iter(server.err_lines("listening on http://")), "")


def interrupt(started: Started) -> int:
    """Send SIGINT, as Ctrl-C does; return the exit code."""
    started.send(signal.SIGINT)
    return started.wait()
