"""Knows `greenroom.toml`: one room, who works in it, and what this machine may run. Must not know who starts them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from greenroom.domain import ids
from greenroom.domain.errors import ConfigurationError
from greenroom.settings.document import read, wrong
from greenroom.settings.harness import (
    Command,
    DaemonSettings,
    Harness,
    Timeout,
    check_daemon,
    check_name,
    check_path,
    check_resident,
    check_words,
    settle_daemon,
)
from greenroom.settings.placeholders import fill_all, fill_env, settle_path
from greenroom.settings.spelling import suggestion

FILE_NAME = "greenroom.toml"


class RoomSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room that `greenroom up` makes sure of."""

    name: str
    roles: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    entry_role: str | None = None
    max_requests: Annotated[int, Meta(ge=1, le=1000)] = 1


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who works in a role: a `command` of this file, a `harness` of a machine, or, with neither, a person's own.

    With a harness that this same file defines, `env` and `then` make a harness of its own of it, for this role.
    """

    harness: str | None = None
    command: Command | None = None
    machine: str | None = None
    model: str | None = None
    workdir: str | None = None
    desired: Literal["running", "stopped"] = "running"
    then: str | None = None
    env: dict[str, str] = {}
    task_timeout_s: Timeout | None = None


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
        """The harness that a role's agent is run by; None where a person runs it. Its own is named `ROOM.ROLE`."""
        agent = self.agents.get(role)
        if agent is None:
            return None
        return self._own_name(role) if has_own_harness(agent) else agent.harness

    def harnesses(self) -> dict[str, Harness]:
        """Every command of this file by its harness's name."""
        own = {self._own_name(role): self._own(agent) for role, agent in self.agents.items() if has_own_harness(agent)}
        return {**self.daemon.harnesses, **own}

    def _own_name(self, role: str) -> str:
        assert self.room is not None, "there is no agent without a room"
        return own_name(self.room, role)

    def _own(self, agent: AgentSettings) -> Harness:
        if agent.command is not None:
            return Harness(command=agent.command, env=agent.env, then=agent.then, task_timeout_s=agent.task_timeout_s)
        harness = self.daemon.harnesses[str(agent.harness)]
        return msgspec.structs.replace(
            harness,
            env={**harness.env, **agent.env},
            then=agent.then or harness.then,
            task_timeout_s=agent.task_timeout_s or harness.task_timeout_s,
        )


def has_own_harness(agent: AgentSettings) -> bool:
    """Tell whether an agent is run by a harness that no other role has."""
    return agent.command is not None or (agent.harness is not None and bool(agent.env or agent.then))


def own_name(room: RoomSettings, role: str) -> str:
    return f"{room.name}.{role}"


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
    check_daemon(path, spelled.daemon)
    room = spelled.room
    if room is None:
        if spelled.agents:
            raise wrong(path, "agents", "there is no room for them", "Add a [room] with its name and roles.")
        return
    check_room(path, room)
    for role, agent in spelled.agents.items():
        check_agent(path, room, role, agent)
        check_harness_of(path, room, role, agent, spelled.daemon.harnesses)


def check_room(path: Path, room: RoomSettings) -> None:
    """Raise ConfigurationError where a room does not fit itself."""
    check_name(path, "room.name", "room", room.name)
    for role in room.roles:
        check_name(path, "room.roles", "role", role)
    if len(set(room.roles)) < len(room.roles):
        raise wrong(path, "room.roles", "a role stands there twice", "Give every role a name of its own.")
    if room.entry_role is not None and room.entry_role not in room.roles:
        raise unknown_role(path, "room.entry_role", room.entry_role, room.roles)


def check_agent(path: Path, room: RoomSettings, role: str, agent: AgentSettings) -> None:
    """Raise ConfigurationError where an agent does not fit its room or itself."""
    key = f"agents.{role}"
    if role not in room.roles:
        raise unknown_role(path, key, role, room.roles)
    if agent.command is not None and agent.harness is not None:
        raise wrong(path, key, "it has both `command` and `harness`", "Keep one of them.")
    if agent.workdir is not None and agent.machine is None:
        check_path(path, f"{key}.workdir", agent.workdir)
    check_words(path, key, agent.command or (), agent.env)
    if agent.command is not None and agent.machine is not None:
        raise wrong(
            path, f"{key}.machine", "a command of this file runs on this machine",
            "Remove `machine`, or define a harness on that machine and name it in `harness`.",
        )  # fmt: skip
    if agent.harness is not None:
        check_name(path, f"{key}.harness", "harness", agent.harness)
    if agent.machine is not None:
        check_name(path, f"{key}.machine", "machine", agent.machine)
    if agent.then is not None and agent.then != ids.USER and agent.then not in room.roles:
        raise unknown_role(path, f"{key}.then", agent.then, (*room.roles, ids.USER))


def check_harness_of(
    path: Path, room: RoomSettings, role: str, agent: AgentSettings, harnesses: Mapping[str, Harness]
) -> None:
    """Raise ConfigurationError where what is said for one agent alone could not reach what runs it."""
    key = f"agents.{role}"
    said = [f"`{name}`" for name in ("env", "then", "task_timeout_s") if getattr(agent, name)]
    if said and agent.command is None and agent.harness is None:
        raise wrong(
            path, key, f"{' and '.join(said)} would have no effect: a person runs this agent",
            "Give it a `command` or a `harness`, or remove them.",
        )  # fmt: skip
    harness = harnesses.get(agent.harness or "") if agent.machine is None else None
    if harness is not None and harness.resident:
        check_resident(path, key, agent.then, None, agent.task_timeout_s)
    if not has_own_harness(agent):
        return
    if agent.command is None and harness is None:
        raise wrong(
            path, key, f"{' and '.join(one for one in said if one != '`task_timeout_s`')} would not reach the harness "
            f"`{agent.harness}`, which this file does not define for this machine",
            "Put them into [daemon.harnesses] where it is defined, or define it here and leave `machine` out.",
        )  # fmt: skip
    name = own_name(room, role)
    check_name(path, key, "harness", name)
    if name in harnesses:
        raise wrong(
            path, f"daemon.harnesses.{name}", f"the agent of role `{role}` has that name for its own",
            "Give this harness another name.",
        )  # fmt: skip


def unknown_role(path: Path, key: str, role: str, roles: tuple[str, ...]) -> ConfigurationError:
    """The error for a role that the room does not have."""
    return wrong(path, key, f"the room has no role `{role}`", suggestion(role, roles))


def settle_agent(agent: AgentSettings, here: Path) -> AgentSettings:
    """Fill in what an agent's settings leave to where their file lies."""
    return msgspec.structs.replace(
        agent,
        command=None if agent.command is None else fill_all(agent.command, here),
        workdir=settle_workdir(agent, here),
        env=fill_env(agent.env, here),
    )


def settle_workdir(agent: AgentSettings, here: Path) -> str | None:
    """An agent of this machine works beside the file unless it says otherwise; another machine's paths are its own."""
    if agent.machine is not None:
        return agent.workdir
    if agent.workdir is None:
        return None if agent.command is None and agent.harness is None else str(here)
    return settle_path(agent.workdir, here)
