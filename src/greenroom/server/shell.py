"""Answers plain heartbeats from memory, without the framework.

It takes only requests that it answers exactly as the route of the same path would. Every other request is replayed into
that route, which is the reference and answers it or says what is wrong. A test sends every case through both.
"""

from typing import Any, Final

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from greenroom.domain.principal import Principal
from greenroom.server.context import ServerContext
from greenroom.server.hosts import AllowedHosts
from greenroom.server.plain import DECODING_ERRORS, PlainRequestCheck, ReplayedReceive
from greenroom.service import machine_heartbeats, participants
from greenroom.wire.requests import HeartbeatBody, MachineHeartbeat

CONTENT_TYPE_HEADER: Final = (b"content-type", b"application/json")
BEAT_SUFFIX: Final = "/heartbeat"

decode_agent_beat: Final = msgspec.json.Decoder(HeartbeatBody).decode
decode_machine_beat: Final = msgspec.json.Decoder(MachineHeartbeat).decode
encode: Final = msgspec.json.Encoder().encode


class HeartbeatFastPath:
    """ASGI middleware in front of the app, for the heartbeats of agents and machines."""

    def __init__(self, inner: ASGIApp, server: ServerContext, hosts: AllowedHosts) -> None:
        self._inner: Final = inner
        self._context: Final = server.service
        self._counters: Final = server.counters
        self._plain: Final = PlainRequestCheck(hosts, server.service.tokens, server.service.limits.body_bytes_max)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].endswith(BEAT_SUFFIX) and scope.get("method") == "POST":
            principal = self._plain.authenticate(scope)
            if principal is not None:
                message: Any = await receive()
                answer = self._answer(scope, principal, message)
                if answer is not None:
                    await send(
                        {
                            "type": "http.response.start",
                            "status": 200,
                            "headers": [CONTENT_TYPE_HEADER, content_length(answer)],
                        }
                    )
                    await send({"type": "http.response.body", "body": answer, "more_body": False})
                    return
                receive = ReplayedReceive(message, receive)
        await self._inner(scope, receive, send)

    def _answer(self, scope: Any, principal: Principal, message: Any) -> bytes | None:
        """Return the encoded answer to a plain heartbeat; None for any other request."""
        body = self._plain.complete_body(message)
        if body is None:
            return None
        parts = scope["path"].split("/")
        try:
            if len(parts) == 8 and parts[:4] == ["", "api", "v1", "rooms"] and parts[5] == "participants":
                reply = participants.renew_participant(
                    self._context, principal, parts[4], parts[6], decode_agent_beat(body)
                )
                self._counters.agent_beats[reply.status] += 1
                return encode(reply)
            if len(parts) == 6 and parts[:4] == ["", "api", "v1", "machines"]:
                beat = decode_machine_beat(body)
                answer = machine_heartbeats.renew_machine(self._context, principal, parts[4], beat)
                if answer is None:
                    return None
                self._counters.machine_beats[answer.status] += 1
                self._counters.agents_in_machine_beats += len(beat.agents)
                return encode(answer)
        except DECODING_ERRORS:
            return None
        return None


def content_length(body: bytes) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % len(body))
