"""`greenroom send` and `greenroom messages`: sends a room messages, and prints them."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

from greenroom.cli.condition import QUEUES, advice_on_queue
from greenroom.cli.connection import all_of, session_of, telling_session
from greenroom.cli.output import clock_time, print_json, print_json_line, visible
from greenroom.client.session import Session
from greenroom.domain.event import Event
from greenroom.domain.ids import USER
from greenroom.domain.message import Message
from greenroom.domain.task import QUEUED
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import SendMessage

SENT = "message.sent"
ENDLESS = float("inf")


def send(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    body = SendMessage(sender=USER, text=arguments.text, to=arguments.to)
    reply = session_of(settings).send(arguments.room, body)
    if arguments.json:
        print_json(out, reply)
    else:
        opened = f": {reply.task.id} is {reply.task.status}" if reply.task else ""
        print(f"sent to {reply.message.to}{opened}", file=out)
    if reply.task is not None and reply.task.status == QUEUED:
        print(f"{QUEUES}; {advice_on_queue(arguments.room)}", file=err)
    print(f"next: greenroom messages {arguments.room} --follow", file=err)
    return 0


def show(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    if arguments.follow:
        for message in follow(settings, arguments.room, err):
            if arguments.json:
                print_json_line(out, message)
            else:
                print(spell(message), file=out, flush=True)
    messages = read(session_of(settings), arguments.room, None)
    if arguments.json:
        print_json(out, messages)
        return 0
    for message in messages:
        print(spell(message), file=out)
    if not messages:
        print(f"No messages yet. Send one: greenroom send {arguments.room} TEXT", file=err)
    return 0


def read(session: Session, room: str, after: str | None) -> list[Message]:
    """All messages of the room after the message with the id `after`; all if that is None."""
    return all_of(lambda last: session.messages(room, last or after, session.limits.page_max))


def follow(settings: Settings, room: str, err: TextIO) -> Iterator[Message]:
    """Yield every message of the room, then each new one as it is sent; reconnects after interruptions."""
    session = session_of(settings, patience_s=ENDLESS)
    cursor = session_of(settings).snapshot(room).cursor
    last: str | None = None
    for message in read(session, room, last):
        last = message.id
        yield message
    events = telling_session(settings, lambda line: print(line, file=err, flush=True)).stream_events(room, cursor)
    for event in events:
        if isinstance(event, Event) and event.type != SENT:
            continue
        for message in read(session, room, last):
            last = message.id
            yield message


def spell(message: Message) -> str:
    """Format a message for people."""
    return f"{clock_time(message.at)} {message.sender} -> {message.to}:\n{visible(message.text)}\n"
