"""One machine of a fleet: a daemon with its own data directory, home and network."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.fleet.network import Place
from tests.acceptance.house import PROGRAM, House
from tests.acceptance.processes import Started, children_of
from tests.waiting import NotYet, wait_until

LABOURER = Path(__file__).with_name("labourer.py")
ENTER: tuple[str, ...] = ()


class Machine:
    """The daemon uses a token for this machine alone."""

    def __init__(self, house: House, name: str, place: Place, diaries: Path) -> None:
        self.name, self.place = name, place
        self.root = house.root / "machines" / name
        self.data_dir, self.home = self.root / "data", self.root / "home"
        self.enter = ENTER
        """The beginning of the command line that enters the machine's process namespace, if it has one."""
        self.daemon: Started | None = None
        self._house, self._diaries = house, diaries
        self._starts = 0
        self._token: str | None = None
        self.home.mkdir(parents=True)

    @property
    def url(self) -> str:
        return self.place.url(self._house.port)

    def environment(self) -> dict[str, str]:
        if self._token is None:
            self._token = self._house.run("machine", "token", self.name).out.strip()
        own = {"HOME": self.home, "GREENROOM_DATA_DIR": self.data_dir, "GREENROOM_URL": self.url}
        told = {name: str(value) for name, value in own.items()}
        return self._house.environment() | told | {"GREENROOM_TOKEN": self._token}

    def write_team(self, room: str, roles: Sequence[str]) -> None:
        """Write its configuration: `labourer.py` as the agent of each of these roles."""
        command = f'["{{python}}", "-ISE", "{LABOURER}"]'
        env = f'{{ DIARIES = "{self._diaries}", MACHINE = "{self.name}" }}'
        tables = [
            f'[daemon.harnesses."{room}.{role}"]\ncommand = {command}\nthen = "user"\nenv = {env}\n' for role in roles
        ]
        (self.home / "greenroom.toml").write_text("\n".join(tables))

    def launch(self, data_dir: Path | None = None) -> Started:
        """Start its daemon, on a copy of its data directory if `data_dir` is given; do not wait for it."""
        self._starts += 1
        words = ("daemon", "start", "--config", str(self.home / "greenroom.toml"), "--machine", self.name)
        environment = self.environment() | ({"GREENROOM_DATA_DIR": str(data_dir)} if data_dir is not None else {})
        command = [*self.place.prefix, *self.enter, *PROGRAM, *words]
        name = f"{self.name}-{self._starts}"
        started = Started(name, command, environment, self.home, self._house.root / "logs")
        if data_dir is None:
            self.daemon = started
        return started

    def start(self) -> Started:
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
        answer = self._house.api.call("GET", f"machines/{self.name}")
        return answer.status == 200 and bool(answer.body["daemon_connected"])

    @property
    def last_seen_at(self) -> str:
        """When the server got its last heartbeat."""
        return str(self._house.api.get(f"machines/{self.name}")["last_seen_at"])

    @property
    def pid(self) -> int:
        """The id of its daemon's process. (In a process namespace that is a child of `nsenter`.)"""
        assert self.daemon is not None
        return children_of(self.daemon.pid)[0] if self.enter else self.daemon.pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.daemon is not None
        self.daemon.wait()

    def freeze(self) -> None:
        """Suspend its daemon with SIGSTOP; none of its threads runs on return."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_until(lambda: {"T"} == states_of(self.pid), f"{self.name} is suspended")

    def thaw(self) -> None:
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
