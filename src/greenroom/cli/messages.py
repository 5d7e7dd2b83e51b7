"""`greenroom send`, `messages` and `watch`: sends messages to a room, and prints messages and events as they happen."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TextIO

from greenroom.cli.connection import open_reporting_session, open_session, read_pages
from greenroom.cli.display_text import escape_control
from greenroom.cli.event_text import format_event_line
from greenroom.cli.status_tables import QUEUED_REASON, advise_on_queue
from greenroom.cli.terminal import format_clock_time, print_json, print_json_line, print_lines
from greenroom.client.api_client import NO_LIMIT_S, ApiClient
from greenroom.domain.event import Event
from greenroom.domain.ids import USER
from greenroom.domain.message import Message
from greenroom.domain.task import QUEUED
from greenroom.exit_codes import ExitCode
from greenroom.settings.resolve import Settings
from greenroom.wire.requests import SendMessage

MESSAGE_SENT = "message.sent"


class StreamNames:
    """The names of the rooms and machines of event streams. An unknown stream is looked up once."""

    def __init__(self, session: ApiClient) -> None:
        self._session = session
        self._names: dict[str, str] = {}

    def refresh(self) -> None:
        """Read the names of all rooms and machines."""
        limit = self._session.limits.page_max
        for room in read_pages(lambda after: self._session.rooms(after, limit)):
            self._names[f"room:{room.id}"] = room.name
        for machine in read_pages(lambda after: self._session.machines(after, limit)):
            self._names[f"machine:{machine.id}"] = machine.name

    def name_of(self, stream: str) -> str:
        """The name of the room or machine of a stream; its id, or the stream's own name, if it has none."""
        if stream not in self._names:
            self.refresh()
        return self._names.setdefault(stream, stream.partition(":")[2] or stream)


def send(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    body = SendMessage(sender=USER, text=arguments.text, to=arguments.to)
    reply = open_session(settings).send_message(arguments.room, body)
    if arguments.json:
        print_json(out, reply)
    else:
        opened = f": {reply.task.id} is {reply.task.status}" if reply.task else ""
        print(f"sent to {reply.message.to}{opened}", file=out)
    if reply.task is not None and reply.task.status == QUEUED:
        print(f"{QUEUED_REASON}; {advise_on_queue(arguments.room)}", file=err)
    print(f"next: greenroom messages {arguments.room} --follow", file=err)
    return ExitCode.DONE


def show(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    if arguments.follow:
        for message in follow_messages(settings, arguments.room, err):
            if arguments.json:
                print_json_line(out, message)
            else:
                print(format_message(message), file=out, flush=True)
    messages = read_messages(open_session(settings), arguments.room, None)
    if arguments.json:
        print_json(out, messages)
        return ExitCode.DONE
    for message in messages:
        print(format_message(message), file=out)
    if not messages:
        print(f"No messages yet. Send one: greenroom send {arguments.room} TEXT", file=err)
    return ExitCode.DONE


def read_messages(session: ApiClient, room: str, after: str | None) -> list[Message]:
    """All messages of the room after the message with the id `after`; all if that is None."""
    return read_pages(lambda last: session.messages(room, last or after, session.limits.page_max))


def follow_messages(settings: Settings, room: str, err: TextIO) -> Iterator[Message]:
    """Yield every message of the room, then each new one as it is sent; reconnects after interruptions."""
    session = open_session(settings, patience_s=NO_LIMIT_S)
    cursor = open_session(settings).snapshot(room).cursor
    last: str | None = None
    for message in read_messages(session, room, last):
        last = message.id
        yield message
    events = open_reporting_session(settings, lambda line: print(line, file=err, flush=True)).stream_events(
        room, cursor
    )
    for event in events:
        if isinstance(event, Event) and event.type != MESSAGE_SENT:
            continue
        for message in read_messages(session, room, last):
            last = message.id
            yield message


def format_message(message: Message) -> str:
    """Format a message for people."""
    return f"{format_clock_time(message.at)} {message.sender} -> {message.to}:\n{escape_control(message.text)}\n"


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Follow the events until interrupted."""
    names = StreamNames(open_session(settings))
    names.refresh()
    session = open_reporting_session(settings, lambda line: print(line, file=err, flush=True))
    for event in session.stream_events(arguments.room, newest=None if arguments.from_start else 0):
        if not isinstance(event, Event):
            print("some events were missed; see `greenroom status`", file=err, flush=True)
        elif arguments.json:
            print_json_line(out, event)
        else:
            print_lines(out, [format_event_line(event, names.name_of(event.stream))])
            out.flush()
    return ExitCode.DONE
