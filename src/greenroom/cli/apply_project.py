"""Applies `greenroom.toml` at the start of `greenroom up`: its room, its agent specs and the first messages."""

from collections.abc import Callable, Sequence
from typing import Final

from greenroom.client.api_client import ApiClient
from greenroom.domain.errors import NotFound
from greenroom.domain.ids import USER
from greenroom.settings.project import AgentSettings, Project, RoomSettings
from greenroom.wire.replies import RoleView, RoomView
from greenroom.wire.requests import CreateRoom, SendMessage, SetAgentSpec

REMOTE: Final = "remote"
SPEC_FIELDS: Final = ("kind", "machine", "harness", "model", "workdir", "task_timeout_s", "desired")
Report = Callable[[str], None]


def apply_project(session: ApiClient, project: Project, machine: str, report: Report) -> RoomView | None:
    """Create the room if it is missing and set the agent specs that differ. `machine` is the id of this machine.

    Returns the room as it is afterwards; None if the file has no room. The file does not decide whether an agent runs
    now: an agent that a user has started or stopped stays so.
    """
    if project.room is None:
        return None
    room = ensure_room(session, project.room, report)
    roles = {role.name: role for role in room.roles}
    for name, agent in project.agents.items():
        harness = project.harness_of(name)
        if harness is None or name not in roles:
            continue
        try:
            spec = project_spec(session, roles[name], agent, harness, machine)
        except NotFound as error:
            report(f"{room.name}/{name} is not assigned: {error}")
            continue
        if spec_differs(roles[name], spec):
            session.set_agent_spec(room.name, name, spec)
            report(f"{room.name}/{name}: set to {spec.desired}, with {harness} on {spec.machine}")
    return session.snapshot(room.name)


def send_first_messages(session: ApiClient, room: RoomView, texts: Sequence[str], report: Report) -> None:
    """Send the room its first messages, unless it already has a message."""
    if texts and not session.messages(room.name, limit=1):
        for text in texts:
            session.send_message(room.name, SendMessage(sender=USER, text=text))
            report(f"sent to {room.name}: {text}")


def ensure_room(session: ApiClient, wanted: RoomSettings, report: Report) -> RoomView:
    """Find the room or create it. Roles that differ from the file are reported, not changed."""
    try:
        room = session.snapshot(wanted.name)
    except NotFound:
        body = CreateRoom(
            name=wanted.name,
            roles=list(wanted.roles),
            entry_role=wanted.entry_role,
            max_requests=wanted.max_requests,
        )
        room = session.create_room(body)
        report(f"created room {room.name}")
    if tuple(role.name for role in room.roles) != wanted.roles:
        change = f"greenroom room change {room.name} --roles {','.join(wanted.roles)}"
        report(f"room {room.name} has other roles than the file; it is not changed. To change it: {change}")
    return room


def project_spec(
    session: ApiClient, present: RoleView, agent: AgentSettings, harness: str, machine: str
) -> SetAgentSpec:
    """The agent spec of the file for a role; `desired` stays as a user has set it. Raises NotFound for the machine."""
    is_decided = present.generation > 0
    return SetAgentSpec(
        kind=REMOTE,
        machine=machine if agent.machine is None else session.machine(agent.machine).id,
        harness=harness,
        model=agent.model,
        workdir=agent.workdir,
        task_timeout_s=agent.task_timeout_s,
        empty=agent.empty,
        desired="stopped" if (present.desired if is_decided else agent.desired) == "stopped" else "running",
        reason=present.desired_reason if is_decided else None,
    )


def spec_differs(present: RoleView, spec: SetAgentSpec) -> bool:
    """Whether setting the spec changes anything. Each write is a new generation, which restarts the agent."""
    return any(getattr(present, name) != getattr(spec, name) for name in SPEC_FIELDS)
