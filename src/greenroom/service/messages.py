"""Sends and lists the messages of a room. A message from the user opens a request."""

from greenroom.domain.errors import RejoinRequired, Superseded, Unusable
from greenroom.domain.event import room_stream
from greenroom.domain.ids import USER
from greenroom.domain.message import Message
from greenroom.domain.participant import OK, SUPERSEDED, judge_call
from greenroom.domain.principal import OPERATOR, Principal
from greenroom.domain.room import Room
from greenroom.domain.task import Task
from greenroom.service import authorization, task_transitions, validation
from greenroom.service.context import ServiceContext
from greenroom.store import messages, participants, rooms, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.replies import MessageReply
from greenroom.wire.requests import SendMessage


def send(
    context: ServiceContext, tx: Transaction, principal: Principal, room_name: str, request: SendMessage
) -> MessageReply:
    """Send a message. One from the user opens a task for a role; one from an agent opens none.

    Raises Unusable for a bad sender or receiver, Superseded and RejoinRequired for an agent that may not send.
    """
    room = authorization.get_readable_room(tx, principal, room_name)
    authorization.require_open_room(room)
    validation.check_text(context, "text", request.text)
    to = request.to or (room.entry_role if request.sender == USER else USER)
    if to not in (*room.roles, USER) or to == request.sender:
        raise Unusable(
            f"Room {room.name} has no receiver {to[:80]!r} for this.", f"Send it to one of {', '.join(room.roles)}."
        )
    task: Task | None = None
    if request.sender == USER:
        if principal.scope != OPERATOR:
            raise authorization.forbidden_error()
        task = task_transitions.open_task(context, tx, room, to, request.text, "a message from the user", after=None)
    else:
        check_agent_may_send(tx, principal, room, request)
    message = Message(
        id=context.new_id("msg"),
        room=room.id,
        sender=request.sender,
        to=to,
        text=request.text,
        task=task.id if task is not None else None,
        at=tx.now.instant,
    )
    messages.add(tx, message)
    data = {"message": message.id, "sender": message.sender, "to": to, "task": message.task}
    tx.record_event(room_stream(room.id), "message.sent", principal.subject, data)
    return MessageReply(message=message, task=task)


def list_all(
    context: ServiceContext, reader: Reader, principal: Principal, room_name: str, after: str | None, limit: int
) -> list[Message]:
    """Up to `limit` messages of a room after the id `after`, oldest first."""
    room = authorization.get_readable_room(reader, principal, room_name)
    return messages.page(reader, room.id, after, limit)


def check_agent_may_send(tx: Transaction, principal: Principal, room: Room, request: SendMessage) -> None:
    """Raise unless the caller may send as the role and its connection is the role's present participant."""
    if rooms.get_role(tx, room.id, request.sender) is None:
        raise Unusable(
            f"Room {room.name} has no role {request.sender[:80]!r}.",
            f"Send as user or as one of {', '.join(room.roles)}.",
        )
    if not (principal.is_operator or principal.role == request.sender or principal.machine is not None):
        raise authorization.forbidden_error()
    if request.connection_id is None:
        raise Unusable("An agent's message needs a `connection_id`.", "Send the connection_id that you joined with.")
    _, role = (
        authorization.get_joinable_role(tx, principal, room.id, request.sender)
        if principal.machine
        else (room, rooms.get_role(tx, room.id, request.sender))
    )
    assert role is not None
    verdict = judge_call(participants.get(tx, room.id, role.name, request.connection_id), role.epoch)
    if verdict == SUPERSEDED:
        raise Superseded(
            f"A newer participant has the role {role.name}, or this one left it.",
            "Stop: this connection can no longer send messages for the role.",
        )
    if verdict != OK:
        raise RejoinRequired(
            f"This connection is not present in the role {role.name}.", "Join again with the same connection_id."
        )
    held = tasks.get_held_by(tx, room.id, role.name, request.connection_id)
    if request.attempt is not None and (held is None or held.attempt != request.attempt):
        raise Superseded(
            f"{role.name} no longer works on attempt {request.attempt} of a task.",
            "Stop working on it; to send a message without holding a task, leave `attempt` out.",
        )
