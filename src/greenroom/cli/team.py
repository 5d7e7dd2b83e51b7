"""Makes sure of the room and the wishes that `greenroom.toml` describes. Must not know how agents are run."""

from collections.abc import Callable, Sequence
from typing import Final

from greenroom.client.session import Session
from greenroom.domain.errors import NotFound
from greenroom.domain.ids import USER
from greenroom.settings.project import AgentSettings, Project, RoomSettings
from greenroom.wire.replies import RoleView, RoomView
from greenroom.wire.requests import CreateRoom, SendMessage, SetAgent

REMOTE: Final = "remote"
WISHED: Final = ("kind", "machine", "harness", "model", "workdir", "task_timeout_s", "desired")
Tell = Callable[[str], None]


def settle_team(session: Session, project: Project, machine: str, tell: Tell) -> RoomView | None:
    """Create what is missing and wish what differs; the room as it is then, None where the file names none.

    A file that says who works in a room does not say whether they should work now: what a person started or stopped
    since stays as it is.
    """
    if project.room is None:
        return None
    room = settle_room(session, project.room, tell)
    known = {role.name: role for role in room.roles}
    for name, agent in project.agents.items():
        harness = project.harness_of(name)
        if harness is None or name not in known:
            continue
        try:
            wished = wish_of(session, known[name], agent, harness, machine)
        except NotFound as error:
            tell(f"{room.name}/{name} waits: {error}")
            continue
        if differs(known[name], wished):
            session.wish(room.name, name, wished)
            tell(f"{room.name}/{name}: wished to be {wished.desired}, by {harness} on {wished.machine}")
    return session.snapshot(room.name)


def say_first(session: Session, room: RoomView, texts: Sequence[str], tell: Tell) -> None:
    """Send the room its first messages; a room that has one already is left to its people."""
    if texts and not session.messages(room.name, limit=1):
        for text in texts:
            session.send(room.name, SendMessage(sender=USER, text=text))
            tell(f"sent to {room.name}: {text}")


def settle_room(session: Session, wanted: RoomSettings, tell: Tell) -> RoomView:
    """Find the room, or create it."""
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
        tell(f"created room {room.name}")
    if tuple(role.name for role in room.roles) != wanted.roles:
        change = f"greenroom room change {room.name} --roles {','.join(wanted.roles)}"
        tell(f"room {room.name} has other roles than the file says; it stays as it is. To make it so: {change}")
    return room


def wish_of(session: Session, known: RoleView, agent: AgentSettings, harness: str, machine: str) -> SetAgent:
    """What the file wishes for a role, as far as no person has decided otherwise."""
    is_decided = known.generation > 0
    return SetAgent(
        kind=REMOTE,
        machine=machine if agent.machine is None else session.machine(agent.machine).id,
        harness=harness,
        model=agent.model,
        workdir=agent.workdir,
        task_timeout_s=agent.task_timeout_s,
        desired="stopped" if (known.desired if is_decided else agent.desired) == "stopped" else "running",
        reason=known.desired_reason if is_decided else None,
    )


def differs(known: RoleView, wished: SetAgent) -> bool:
    """Tell whether writing the wish would change it; each writing is a new generation and starts the agent anew."""
    return any(getattr(known, name) != getattr(wished, name) for name in WISHED)
