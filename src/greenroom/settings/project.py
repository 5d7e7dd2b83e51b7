"""Knows `greenroom.toml`: one room, who works in it, and what this machine may run. Must not know who starts them."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from greenroom.domain import ids
from greenroom.domain.errors import ConfigurationError, Unusable
from greenroom.settings.document import read, wrong
from greenroom.settings.spelling import suggestion

FILE_NAME = "greenroom.toml"

Command = Annotated[tuple[str, ...], Meta(min_length=1)]


class RoomSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room that `greenroom up` makes sure of."""

    name: str
    roles: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    entry_role: str | None = None
    max_requests: Annotated[int, Meta(ge=1, le=1000)] = 1


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who works in a role: a `command` of this file, a `harness` of a machine, or, with neither, a person's own."""

    harness: str | None = None
    command: Command | None = None
    machine: str | None = None
    model: str | None = None
    workdir: str | None = None
    desired: Literal["running", "stopped"] = "running"
    then: str | None = None
    env: dict[str, str] = {}
    task_timeout_s: Annotated[float, Meta(gt=0)] | None = None


class Harness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A command that a machine may run for a task; `then` is the role that its output goes to.

    `{model}` in the command stands for the model that is wished for the role.
    """

    command: Command
    env: dict[str, str] = {}
    then: str | None = None
    task_timeout_s: Annotated[float, Meta(gt=0)] | None = None


class DaemonSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What this machine's daemon may run, and below which directories."""

    harnesses: dict[str, Harness] = {}
    allowed_dirs: tuple[str, ...] = ()


class ProjectFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is spelled."""

    room: RoomSettings | None = None
    agents: dict[str, AgentSettings] = {}
    daemon: DaemonSettings = DaemonSettings()


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it is meant: placeholders filled in, paths absolute. `path` is the file's."""

    path: Path
    room: RoomSettings | None
    agents: dict[str, AgentSettings]
    daemon: DaemonSettings

    def harness_of(self, role: str) -> str | None:
        """The harness that a role's agent is run by; None where a person runs it."""
        agent = self.agents.get(role)
        if agent is None:
            return None
        if agent.command is not None and self.room is not None:
            return f"{self.room.name}.{role}"
        return agent.harness

    def harnesses(self) -> dict[str, Harness]:
        """Every command of this file by its harness's name; an agent's own command is named `ROOM.ROLE`."""
        own = {
            str(self.harness_of(role)): Harness(
                command=agent.command, env=agent.env, then=agent.then, task_timeout_s=agent.task_timeout_s
            )
            for role, agent in self.agents.items()
            if agent.command is not None
        }
        return {**self.daemon.harnesses, **own}


def find_project(start: Path) -> Path | None:
    """The nearest `greenroom.toml` in `start` or above it."""
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def load_project(path: Path) -> Project:
    """Read a project's file. Raises ConfigurationError that names the file and the key."""
    path = path.absolute()
    spelled = read(path, ProjectFile)
    check(path, spelled)
    here = path.parent
    return Project(
        path=path,
        room=spelled.room,
        agents={role: settle_agent(agent, here) for role, agent in spelled.agents.items()},
        daemon=settle_daemon(spelled.daemon, here, has_agents=bool(spelled.agents)),
    )


def check(path: Path, spelled: ProjectFile) -> None:
    """Raise ConfigurationError where the parts of the file do not fit together."""
    room = spelled.room
    for name in spelled.daemon.harnesses:
        check_name(path, f"daemon.harnesses.{name}", "harness", name)
    if room is None:
        if spelled.agents:
            raise wrong(path, "agents", "there is no room for them", "Add a [room] with its name and roles.")
        return
    check_name(path, "room.name", "room", room.name)
    for role in room.roles:
        check_name(path, "room.roles", "role", role)
    if len(set(room.roles)) < len(room.roles):
        raise wrong(path, "room.roles", "a role stands there twice", "Give every role a name of its own.")
    if room.entry_role is not None and room.entry_role not in room.roles:
        raise unknown_role(path, "room.entry_role", room.entry_role, room.roles)
    for role, agent in spelled.agents.items():
        check_agent(path, room, role, agent)


def check_agent(path: Path, room: RoomSettings, role: str, agent: AgentSettings) -> None:
    """Raise ConfigurationError where an agent does not fit its room or itself."""
    key = f"agents.{role}"
    if role not in room.roles:
        raise unknown_role(path, key, role, room.roles)
    if agent.command is not None and agent.harness is not None:
        raise wrong(path, key, "it has both `command` and `harness`", "Keep one of them.")
    if agent.command is not None and agent.machine is not None:
        raise wrong(
            path, f"{key}.machine", "a command of this file runs on this machine",
            "Remove `machine`, or define a harness on that machine and name it in `harness`.",
        )  # fmt: skip
    if agent.command is not None:
        check_name(path, key, "harness", f"{room.name}.{role}")
    if agent.harness is not None:
        check_name(path, f"{key}.harness", "harness", agent.harness)
    if agent.machine is not None:
        check_name(path, f"{key}.machine", "machine", agent.machine)
    if agent.then is not None and agent.then != ids.USER and agent.then not in room.roles:
        raise unknown_role(path, f"{key}.then", agent.then, (*room.roles, ids.USER))


def check_name(path: Path, key: str, what: str, name: str) -> None:
    """Raise ConfigurationError when `name` may not name a `what`."""
    try:
        ids.check_name(what, name)
    except Unusable as error:
        raise wrong(path, key, error.detail.rstrip("."), error.guidance) from None


def unknown_role(path: Path, key: str, role: str, roles: tuple[str, ...]) -> ConfigurationError:
    """The error for a role that the room does not have."""
    return wrong(path, key, f"the room has no role `{role}`", suggestion(role, roles))


def settle_agent(agent: AgentSettings, here: Path) -> AgentSettings:
    """Fill in what an agent's settings leave to where their file lies."""
    return msgspec.structs.replace(
        agent,
        command=None if agent.command is None else fill_all(agent.command, here),
        workdir=settle_workdir(agent, here),
        env={name: fill(value, here) for name, value in agent.env.items()},
    )


def settle_workdir(agent: AgentSettings, here: Path) -> str | None:
    """An agent of this machine works beside the file unless it says otherwise; another machine's paths are its own."""
    if agent.machine is not None:
        return agent.workdir
    if agent.workdir is None:
        return None if agent.command is None and agent.harness is None else str(here)
    return settle_path(agent.workdir, here)


def settle_daemon(daemon: DaemonSettings, here: Path, has_agents: bool) -> DaemonSettings:
    """Fill in what the daemon's settings leave to where their file lies. By default agents may work beside it."""
    default = (str(here),) if has_agents else ()
    return DaemonSettings(
        harnesses={
            name: msgspec.structs.replace(
                harness,
                command=fill_all(harness.command, here),
                env={key: fill(value, here) for key, value in harness.env.items()},
            )
            for name, harness in daemon.harnesses.items()
        },
        allowed_dirs=tuple(settle_path(folder, here) for folder in daemon.allowed_dirs) or default,
    )


def settle_path(text: str, here: Path) -> str:
    """Spell a path of the file as an absolute one."""
    return str((here / Path(fill(text, here)).expanduser()).absolute())


def fill_all(command: tuple[str, ...], here: Path) -> tuple[str, ...]:
    return tuple(fill(word, here) for word in command)


def fill(text: str, here: Path) -> str:
    """Fill in `{python}`, this very interpreter, and `{here}`, the folder of the file."""
    return text.replace("{python}", sys.executable).replace("{here}", str(here))
