"""One machine of a fleet: a daemon with its own data directory, home and network."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.process.fleet.network import MachineLink
from tests.process.installation import PROGRAM, Installation
from tests.process.processes import StartedProcess, children_of
from tests.waiting import NotYet, wait_until

DIARY_AGENT = Path(__file__).with_name("diary_agent.py")
ENTER: tuple[str, ...] = ()


class FleetMachine:
    """The daemon uses a token for this machine alone."""

    def __init__(self, installation: Installation, name: str, link: MachineLink, diaries: Path) -> None:
        self.name, self.link = name, link
        self.root = installation.root / "machines" / name
        self.data_dir, self.home = self.root / "data", self.root / "home"
        self.enter = ENTER
        """The beginning of the command line that enters the machine's process namespace, if it has one."""
        self.daemon: StartedProcess | None = None
        self._installation, self._diaries = installation, diaries
        self._starts = 0
        self._token: str | None = None
        self.home.mkdir(parents=True)

    @property
    def url(self) -> str:
        return self.link.url(self._installation.port)

    def environment(self) -> dict[str, str]:
        if self._token is None:
            self._token = self._installation.run("machine", "token", self.name).out.strip()
        own_paths = {"HOME": self.home, "GREENROOM_DATA_DIR": self.data_dir, "GREENROOM_URL": self.url}
        own_variables = {name: str(value) for name, value in own_paths.items()}
        return self._installation.environment() | own_variables | {"GREENROOM_TOKEN": self._token}

    def write_team(self, room: str, roles: Sequence[str]) -> None:
        """Write its configuration: `diary_agent.py` as the agent of each of these roles."""
        command = f'["{{python}}", "-ISE", "{DIARY_AGENT}"]'
        env = f'{{ DIARIES = "{self._diaries}", MACHINE = "{self.name}" }}'
        tables = [
            f'[daemon.harnesses."{room}.{role}"]\ncommand = {command}\nthen = "user"\nenv = {env}\n' for role in roles
        ]
        (self.home / "greenroom.toml").write_text("\n".join(tables))

    def launch(self, data_dir: Path | None = None) -> StartedProcess:
        """Start its daemon, on a copy of its data directory if `data_dir` is given; do not wait for it."""
        self._starts += 1
        arguments = ("daemon", "start", "--config", str(self.home / "greenroom.toml"), "--machine", self.name)
        environment = self.environment() | ({"GREENROOM_DATA_DIR": str(data_dir)} if data_dir is not None else {})
        command = [*self.link.prefix, *self.enter, *PROGRAM, *arguments]
        name = f"{self.name}-{self._starts}"
        started = StartedProcess(name, command, environment, self.home, self._installation.root / "logs")
        if data_dir is None:
            self.daemon = started
        return started

    def start(self) -> StartedProcess:
        """Start its daemon; it is connected on return."""
        started = self.launch()
        self.wait_until_connected()
        return started

    def wait_until_connected(self) -> None:
        wait_until(self.is_connected, f"{self.name} is connected")

    def is_connected(self) -> bool:
        """Return whether the daemon's log and the server both say that it is connected. Raises NotYet.

        Until the lease of an earlier daemon expires, the server shows the machine as connected without this daemon.
        """
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise NotYet(f"the daemon exited with {self.daemon.poll()}: {self.daemon.err[-500:]}")
        if "machine connected: " not in self.daemon.err:
            raise NotYet("the daemon has not reached the server")
        answer = self._installation.api.call("GET", f"machines/{self.name}")
        return answer.status == 200 and bool(answer.body["daemon_connected"])

    @property
    def last_seen_at(self) -> str:
        """When the server got its last heartbeat."""
        return str(self._installation.api.get(f"machines/{self.name}")["last_seen_at"])

    @property
    def pid(self) -> int:
        """The id of its daemon's process. (In a process namespace that is a child of `nsenter`.)"""
        assert self.daemon is not None
        return children_of(self.daemon.pid)[0] if self.enter else self.daemon.pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.daemon is not None
        self.daemon.wait()

    def suspend(self) -> None:
        """Suspend its daemon with SIGSTOP; none of its threads runs on return."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: {"T"} == states_of(self.pid), f"{self.name} is suspended")

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.daemon is None or self.daemon.poll() is not None:
            return
        if self.enter:
            os.kill(self.pid, signal.SIGTERM)
            self.daemon.wait()
        self.daemon.end()


def states_of(pid: int) -> set[str]:
    """The states of a process's threads, each by its letter."""
    stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return {stat.rpartition(")")[2].split()[0] for stat in stats}
