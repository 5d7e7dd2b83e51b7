"""Answers well-formed heartbeats from memory, before any framework. Must not decide anything about anybody.

It takes only what it can answer exactly as the route of the same path would; whatever is odd in the least is replayed
into that route, which is the reference and has the words for it. A test sends every case to both.
"""

from typing import Any, Final

import msgspec
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from greenroom.domain.errors import GreenroomError
from greenroom.server.doors import Doors
from greenroom.server.hosts import Hosts
from greenroom.service import connecting, presence
from greenroom.wire.requests import Heartbeat, MachineHeartbeat

BEARER: Final = b"Bearer "
JSON: Final = b"application/json"
HEADERS: Final = (b"content-type", JSON)
BEAT_SUFFIX: Final = "/heartbeat"
HEADERS_HEEDED: Final = frozenset({b"host", b"origin", b"authorization", b"content-type"})
UNREADABLE: Final = (GreenroomError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

decode_agent_beat: Final = msgspec.json.Decoder(Heartbeat).decode
decode_machine_beat: Final = msgspec.json.Decoder(MachineHeartbeat).decode
encode: Final = msgspec.json.Encoder().encode


class Shell:
    """In front of the app: one look at a request tells whether it is a plain beat."""

    def __init__(self, inner: ASGIApp, doors: Doors, hosts: Hosts) -> None:
        self._inner: Final = inner
        self._world: Final = doors.world
        self._tally: Final = doors.tally
        self._hosts: Final = hosts.names
        self._body_bytes_max: Final = doors.world.limits.body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith(BEAT_SUFFIX) and scope.get("method") == "POST":
            message: Any = await receive()
            answer = self._answer(scope, message)
            if answer is not None:
                await send({"type": "http.response.start", "status": 200, "headers": [HEADERS, length_of(answer)]})
                await send({"type": "http.response.body", "body": answer, "more_body": False})
                return
            receive = Replay(message, receive)
        await self._inner(scope, receive, send)

    def _answer(self, scope: Any, message: Any) -> bytes | None:
        """The answer to a plain beat; None for anything else."""
        if message["type"] != "http.request" or message.get("more_body") or scope["query_string"]:
            return None
        body: bytes = message["body"]
        heeded = [header for header in scope["headers"] if header[0] in HEADERS_HEEDED]
        told = dict(heeded)
        token = told.get(b"authorization", b"")
        if (
            len(heeded) != 3  # One of the three is missing or there twice, or there is an Origin.
            or told.get(b"host") not in self._hosts
            or told.get(b"content-type") != JSON
            or not token.startswith(BEARER)
            or len(body) > self._body_bytes_max
        ):
            return None
        caller = self._world.keys.caller_of(token[len(BEARER) :].decode("latin-1"))
        if caller is None:
            return None
        parts = scope["path"].split("/")
        try:
            if len(parts) == 8 and parts[:4] == ["", "api", "v1", "rooms"] and parts[5] == "participants":
                reply = presence.beat(self._world, caller, parts[4], parts[6], decode_agent_beat(body))
                self._tally.agent_beats[reply.status] += 1
                return encode(reply)
            if len(parts) == 6 and parts[:4] == ["", "api", "v1", "machines"]:
                beat = decode_machine_beat(body)
                answer = connecting.beat(self._world, caller, parts[4], beat)
                if answer is None:
                    return None
                self._tally.machine_beats[answer.status] += 1
                self._tally.agents_in_machine_beats += len(beat.agents)
                return encode(answer)
        except UNREADABLE:
            return None
        return None


class Replay:
    """Gives out again the first message of a request, and then goes on with the others."""

    def __init__(self, first: HTTPReceiveMessage, receive: Receive) -> None:
        self._first: HTTPReceiveMessage | None = first
        self._receive = receive

    async def __call__(self) -> Any:
        first, self._first = self._first, None
        return first if first is not None else await self._receive()


def length_of(body: bytes) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % len(body))
