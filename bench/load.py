"""The load client, a process of its own: every connection repeats its request as soon as it was answered.

It reads rounds from stdin, one JSON document a line, and writes the outcome of each to stdout. Every answer is checked
for its status, its length and how often a mark occurs in it; every SAMPLED-th is decoded and checked as a whole.
`python -m bench.load`
"""

import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import uvloop

from bench.connection import HOST, Connection
from greenroom.wire.replies import HeartbeatReply, MachineHeartbeatReply

AGENT: Final = "agent"
MACHINE: Final = "machine"
ECHO: Final = "echo"
CHECK_EVERY: Final = 97
WARM_UP_S: Final = 0.3
WRONG_REPORTED_MAX: Final = 3


class Round(msgspec.Struct, frozen=True):
    """One connection for each request. Every answer contains `mark` `marks` times; `shape` names its full check."""

    port: int
    requests: tuple[bytes, ...]
    mark: bytes
    marks: int
    shape: str
    seconds: float


class RoundOutcome(msgspec.Struct, frozen=True):
    """Result of a round. `client_share` is the part of one core that the client used: near 1 it measured itself."""

    per_s: float
    answers: int
    sampled: int
    client_share: float
    wrong: tuple[str, ...]


decode_agent: Final = msgspec.json.Decoder(HeartbeatReply).decode
decode_machine: Final = msgspec.json.Decoder(MachineHeartbeatReply).decode


def is_good_agent(request: bytes, body: bytes, marks: int) -> bool:
    return decode_agent(body).status == "ok"


def is_good_machine(request: bytes, body: bytes, marks: int) -> bool:
    reply = decode_machine(body)
    seats = {(agent.room, agent.role) for agent in reply.agents if agent.status == "ok"}
    return reply.status == "ok" and reply.daemon_connected and len(seats) == len(reply.agents) == marks - 1


def is_echo(request: bytes, body: bytes, marks: int) -> bool:
    return request.endswith(b"\r\n\r\n" + body)


SHAPES: Final[dict[str, Callable[[bytes, bytes, int], bool]]] = {
    AGENT: is_good_agent,
    MACHINE: is_good_machine,
    ECHO: is_echo,
}


class LoadRound:
    """All connections of one round, and the counts of their answers."""

    def __init__(self, spec: Round) -> None:
        self.answers = 0
        self.sampled = 0
        self.wrong: list[str] = []
        self._round = spec
        self._is_good = SHAPES[spec.shape]
        self._is_over = False

    async def run(self) -> RoundOutcome:
        """Connect, warm up, count answers for the length of the round, and disconnect."""
        loop = asyncio.get_running_loop()
        connections: list[Connection] = []
        for number in range(len(self._round.requests)):
            call = partial(Connection, self.check_answer, number)
            connections.append((await loop.create_connection(call, HOST, self._round.port))[1])
        for connection in connections:
            connection.send(self._round.requests[connection.number])
        await asyncio.sleep(WARM_UP_S)
        began_at, used_s, before = time.perf_counter(), time.process_time(), self.answers
        await asyncio.sleep(self._round.seconds)
        passed_s, answers = time.perf_counter() - began_at, self.answers - before
        client_share = (time.process_time() - used_s) / passed_s
        self._is_over = True
        for connection in connections:
            connection.close()
        return RoundOutcome(
            answers / passed_s, self.answers, self.sampled, client_share, tuple(self.wrong[:WRONG_REPORTED_MAX])
        )

    def check_answer(self, connection: Connection, status: int, body: bytes) -> None:
        """Check an answer and send the next request."""
        if self._is_over:
            return
        spec = self._round
        request = spec.requests[connection.number]
        is_good = status == 200 and body.count(spec.mark) == spec.marks
        self.answers += 1
        if self.answers % CHECK_EVERY == 0:
            self.sampled += 1
            is_good = is_good and self._is_good(request, body, spec.marks)
        if not is_good:
            self.wrong.append(f"status {status}: {body[:200]!r}")
        if status:
            connection.send(request)


def main() -> None:
    """Run the rounds read from stdin until it is closed."""
    for line in sys.stdin.buffer:
        outcome = uvloop.run(LoadRound(msgspec.json.decode(line, type=Round)).run())
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
