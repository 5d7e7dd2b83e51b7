"""Reads `greenroom.toml`: one room, its agents, and what this machine may run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from greenroom.domain import ids
from greenroom.domain.errors import ConfigurationError
from greenroom.settings.harness import (
    Command,
    DaemonSettings,
    Harness,
    Timeout,
    check_command,
    check_daemon_settings,
    check_name,
    check_path,
    check_resident_settings,
    resolve_daemon_settings,
)
from greenroom.settings.suggest import suggest_name
from greenroom.settings.toml_file import key_error, read_toml, replace_in_env, replace_in_words, resolve_path

FILE_NAME = "greenroom.toml"


class RoomSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room that `greenroom up` creates if it is missing."""

    name: str
    roles: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    entry_role: str | None = None
    max_requests: Annotated[int, Meta(ge=1, le=1000)] = 1


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent of a role: a `command` of this file, a `harness` of a machine, or, with neither, one that a user runs.

    If this file defines the harness, `env` and `then` derive a harness for this role alone from it.
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
    empty: Literal["ok", "failure"] = "ok"


class ProjectFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is written."""

    room: RoomSettings | None = None
    agents: dict[str, AgentSettings] = {}
    daemon: DaemonSettings = DaemonSettings()


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """The project, with placeholders replaced and absolute paths. `path` is the file's."""

    path: Path
    room: RoomSettings | None
    agents: dict[str, AgentSettings]
    daemon: DaemonSettings

    def harness_of(self, role: str) -> str | None:
        """The harness that runs a role's agent; None if a user runs it. A harness for one role is named `ROOM.ROLE`."""
        agent = self.agents.get(role)
        if agent is None:
            return None
        return self._role_harness_name(role) if has_role_harness(agent) else agent.harness

    def harnesses(self) -> dict[str, Harness]:
        """All harnesses of this file, by name."""
        own = {
            self._role_harness_name(role): self._role_harness(agent)
            for role, agent in self.agents.items()
            if has_role_harness(agent)
        }
        return {**self.daemon.harnesses, **own}

    def _role_harness_name(self, role: str) -> str:
        assert self.room is not None, "there is no agent without a room"
        return role_harness_name(self.room, role)

    def _role_harness(self, agent: AgentSettings) -> Harness:
        if agent.command is not None:
            return Harness(command=agent.command, env=agent.env, then=agent.then, task_timeout_s=agent.task_timeout_s)
        harness = self.daemon.harnesses[str(agent.harness)]
        return msgspec.structs.replace(
            harness,
            env={**harness.env, **agent.env},
            then=agent.then or harness.then,
            task_timeout_s=agent.task_timeout_s or harness.task_timeout_s,
        )


def has_role_harness(agent: AgentSettings) -> bool:
    """Whether an agent has a harness for its role alone."""
    return agent.command is not None or (agent.harness is not None and bool(agent.env or agent.then))


def role_harness_name(room: RoomSettings, role: str) -> str:
    return f"{room.name}.{role}"


def find_project(start: Path) -> Path | None:
    """The nearest `greenroom.toml` in `start` or above it."""
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def load_project(path: Path) -> Project:
    """Read and check a project's file. Raises ConfigurationError that names the file and the key."""
    path = path.absolute()
    file = read_toml(path, ProjectFile)
    check_project(path, file)
    here = path.parent
    return Project(
        path=path,
        room=file.room,
        agents={role: resolve_agent_settings(agent, here) for role, agent in file.agents.items()},
        daemon=resolve_daemon_settings(file.daemon, here, has_agents=bool(file.agents)),
    )


def check_project(path: Path, file: ProjectFile) -> None:
    """Raise ConfigurationError when parts of the file contradict each other."""
    check_daemon_settings(path, file.daemon)
    room = file.room
    if room is None:
        if file.agents:
            raise key_error(path, "agents", "there is no [room] for them", "Add a [room] with its name and roles.")
        return
    check_room(path, room)
    for role, agent in file.agents.items():
        check_agent(path, room, role, agent)
        check_agent_harness(path, room, role, agent, file.daemon.harnesses)


def check_room(path: Path, room: RoomSettings) -> None:
    """Raise ConfigurationError for an invalid room."""
    check_name(path, "room.name", "room", room.name)
    for role in room.roles:
        check_name(path, "room.roles", "role", role)
    if len(set(room.roles)) < len(room.roles):
        raise key_error(path, "room.roles", "a role is listed twice", "Give each role a different name.")
    if room.entry_role is not None and room.entry_role not in room.roles:
        raise unknown_role_error(path, "room.entry_role", room.entry_role, room.roles)


def check_agent(path: Path, room: RoomSettings, role: str, agent: AgentSettings) -> None:
    """Raise ConfigurationError for an agent that is invalid, or does not fit its room."""
    key = f"agents.{role}"
    if role not in room.roles:
        raise unknown_role_error(path, key, role, room.roles)
    if agent.command is not None and agent.harness is not None:
        raise key_error(path, key, "it has both `command` and `harness`", "Keep one of them.")
    if agent.workdir is not None and agent.machine is None:
        check_path(path, f"{key}.workdir", agent.workdir)
    check_command(path, key, agent.command or (), agent.env)
    if agent.command is not None and agent.machine is not None:
        raise key_error(
            path, f"{key}.machine", "a command of this file runs on this machine",
            "Remove `machine`, or define a harness on that machine and name it in `harness`.",
        )  # fmt: skip
    if agent.harness is not None:
        check_name(path, f"{key}.harness", "harness", agent.harness)
    if agent.machine is not None:
        check_name(path, f"{key}.machine", "machine", agent.machine)
    if agent.then is not None and agent.then != ids.USER and agent.then not in room.roles:
        raise unknown_role_error(path, f"{key}.then", agent.then, (*room.roles, ids.USER))


def check_agent_harness(
    path: Path, room: RoomSettings, role: str, agent: AgentSettings, harnesses: Mapping[str, Harness]
) -> None:
    """Raise ConfigurationError when the settings of one agent cannot apply to the harness that runs it."""
    key = f"agents.{role}"
    given = [f"`{name}`" for name in ("env", "then", "task_timeout_s") if getattr(agent, name)]
    if given and agent.command is None and agent.harness is None:
        raise key_error(
            path, key, f"{' and '.join(given)} would have no effect: a user runs this agent",
            "Give it a `command` or a `harness`, or remove them.",
        )  # fmt: skip
    harness = harnesses.get(agent.harness or "") if agent.machine is None else None
    if harness is not None and harness.resident:
        check_resident_settings(path, key, agent.then, None, agent.task_timeout_s)
    if not has_role_harness(agent):
        return
    if agent.command is None and harness is None:
        raise key_error(
            path, key, f"{' and '.join(key for key in given if key != '`task_timeout_s`')} would not reach the harness "
            f"`{agent.harness}`, which this file does not define for this machine",
            "Set them in [daemon.harnesses] where it is defined, or define it in this file and leave `machine` out.",
        )  # fmt: skip
    name = role_harness_name(room, role)
    check_name(path, key, "harness", name)
    if name in harnesses:
        raise key_error(
            path, f"daemon.harnesses.{name}", f"the harness of role `{role}` has this name",
            "Give this harness another name.",
        )  # fmt: skip


def unknown_role_error(path: Path, key: str, role: str, roles: tuple[str, ...]) -> ConfigurationError:
    """The error for a role that is not in the room."""
    return key_error(path, key, f"the room has no role `{role}`", suggest_name(role, roles))


def resolve_agent_settings(agent: AgentSettings, here: Path) -> AgentSettings:
    """Resolve placeholders and paths of an agent by `here`, the folder of the file."""
    return msgspec.structs.replace(
        agent,
        command=None if agent.command is None else replace_in_words(agent.command, here),
        workdir=resolve_workdir(agent, here),
        env=replace_in_env(agent.env, here),
    )


def resolve_workdir(agent: AgentSettings, here: Path) -> str | None:
    """By default, an agent of this machine works in the file's folder. Another machine's path is left as it is."""
    if agent.machine is not None:
        return agent.workdir
    if agent.workdir is None:
        return None if agent.command is None and agent.harness is None else str(here)
    return resolve_path(agent.workdir, here)
