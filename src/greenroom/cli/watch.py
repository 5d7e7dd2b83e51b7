"""`greenroom watch`: prints events as they happen."""

from argparse import Namespace
from typing import TextIO

from greenroom.cli.connection import NEWEST, all_of, session_of, telling_session
from greenroom.cli.output import print_json_line, print_lines
from greenroom.cli.story import spell
from greenroom.client.session import Session
from greenroom.domain.event import Event
from greenroom.settings.resolve import Settings


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Follow the events until interrupted."""
    names = Names(session_of(settings))
    names.learn()
    session = telling_session(settings, lambda line: print(line, file=err, flush=True))
    is_expected = not arguments.from_start
    for event in session.stream_events(arguments.room, 0 if arguments.from_start else NEWEST):
        if not isinstance(event, Event):
            if not is_expected:
                print("some events were missed; see `greenroom status`", file=err, flush=True)
            is_expected = False
        elif arguments.json:
            print_json_line(out, event)
        else:
            print_lines(out, [spell(event, names.of(event.stream))])
            out.flush()
    return 0


class Names:
    """The names of the rooms and machines of event streams. An unknown stream is looked up once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: dict[str, str] = {}

    def learn(self) -> None:
        """Read the names of all rooms and machines."""
        limit = self._session.limits.page_max
        for room in all_of(lambda after: self._session.rooms(after, limit)):
            self._names[f"room:{room.id}"] = room.name
        for machine in all_of(lambda after: self._session.machines(after, limit)):
            self._names[f"machine:{machine.id}"] = machine.name

    def of(self, stream: str) -> str:
        """The name of the room or machine of a stream; its id, or the stream's own name, if it has none."""
        if stream not in self._names:
            self.learn()
        return self._names.setdefault(stream, stream.partition(":")[2] or stream)
