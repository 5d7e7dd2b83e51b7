"""Hundreds of simulated daemons in one process: they beat, poll for assignments and keep one claim for each agent.

The product's own rules decide when each of them sends what (`domain.heartbeat_policy`); the code that sends it over a
socket is kept small, because the server is to be measured.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import msgspec

from bench.connection import AsyncConnection, encode_request
from bench.joined_agents import API, JoinedAgent, encode_machine_beat
from bench.server_process import RunningServer
from greenroom.domain.heartbeat_policy import (
    RENEW_CLAIM,
    LongPollPolicy,
    daemon_heartbeat_policy,
    make_long_poll_policy,
)
from greenroom.domain.limits import DEFAULT_LIMITS
from greenroom.domain.participant import OK
from greenroom.wire.replies import Assignments, MachineHeartbeatReply
from greenroom.wire.requests import ClaimBody

INTERVAL_S: Final = DEFAULT_LIMITS.daemon_heartbeat_interval_s
ANSWERED: Final = (200, 204)


class RequestFailed(Exception):
    """A request had no answer, none in time, or one with a status other than 200 and 204."""


class ReopeningConnection:
    """One keep-alive connection, reopened after any failure. The time of every request is appended to `sent`."""

    def __init__(self, port: int, sent: list[float]) -> None:
        self._port = port
        self._sent = sent
        self._caller: AsyncConnection | None = None

    async def request(self, request: bytes, timeout_s: float) -> bytes:
        """Send a request; the body of its answer. Raises `RequestFailed`."""
        try:
            async with asyncio.timeout(timeout_s):
                caller, self._caller = self._caller, None
                if caller is None or caller.is_lost:
                    caller = await AsyncConnection.connect(self._port)
                self._sent.append(time.monotonic())
                status, body = await caller.request(request)
        except (OSError, TimeoutError) as error:
            raise RequestFailed(str(error)) from error
        if status not in ANSWERED:
            caller.close()
            raise RequestFailed(f"{status}: {body[:200]!r}")
        self._caller = caller
        return body


class LongPoll:
    """A long-poll call, repeated for ever. `sent_at`: when the present one was sent; None after a failure."""

    def __init__(
        self, daemon: "SimulatedDaemon", standing: LongPollPolicy, encode: Callable[[float], bytes], is_gated: bool
    ) -> None:
        self.sent_at: float | None = None
        self.body = b""
        self._daemon, self._standing, self._encode, self._is_gated = daemon, standing, encode, is_gated
        self._line = daemon.open_connection()

    async def run(self) -> None:
        """Send the call again and again; a claim first waits until its machine is back."""
        presence, was_away = self._daemon.presence, False
        while True:
            if self._is_gated and not presence.is_present():
                was_away = True
                await self._daemon.back.wait()
            elif was_away and presence.spread_retries:
                was_away = False
                await asyncio.sleep(self._standing.record_return(random.random()))
            else:
                was_away = False
                await self._ask()

    async def _ask(self) -> None:
        wait_s = self._standing.wait_s(random.random())
        self.sent_at = time.monotonic()
        try:
            self.body = await self._line.request(self._encode(wait_s), wait_s + self._daemon.presence.timeout_s)
        except RequestFailed:
            self.sent_at = None
            await asyncio.sleep(self._standing.record_failure(self._daemon.presence.spread_retries, random.random()))
        else:
            self._standing.record_answer()


class SimulatedDaemon:
    """One machine: its beats, its poll for assignments, and a claim for each of its agents."""

    def __init__(self, greenroom: RunningServer, name: str, seats: list[JoinedAgent], sent: list[float]) -> None:
        self.presence = daemon_heartbeat_policy(DEFAULT_LIMITS)
        self.back = asyncio.Event()
        self.last_beat_at: float | None = None
        self._greenroom, self._sent = greenroom, sent
        self._beat = encode_machine_beat(greenroom, name, seats)
        waits, token, version = make_long_poll_policy(DEFAULT_LIMITS, INTERVAL_S), seats[0].token, 0

        def encode_poll(wait_s: float) -> bytes:
            nonlocal version
            if self.spec_poll.body:
                version = msgspec.json.decode(self.spec_poll.body, type=Assignments).version
            path = f"{API}/machines/{name}/assignments?after={version}&wait_s={wait_s:.3f}"
            return encode_request("GET", greenroom.port, path, token, None)

        self.spec_poll = LongPoll(self, msgspec.structs.replace(waits), encode_poll, is_gated=False)
        self.claims = [
            LongPoll(self, msgspec.structs.replace(waits), claim_encoder(greenroom, seat, token), is_gated=True)
            for seat in seats
        ]

    def open_connection(self) -> ReopeningConnection:
        return ReopeningConnection(self._greenroom.port, self._sent)

    def long_polls(self) -> list[LongPoll]:
        return [self.spec_poll, *self.claims]

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Beat for ever; the long-poll calls start after the first beat."""
        await asyncio.sleep(random.random() * INTERVAL_S)
        line, presence = self.open_connection(), self.presence
        await self._call(line)
        for call in self.long_polls():
            tasks.create_task(call.run())
        while True:
            await asyncio.sleep(presence.wait_s(time.monotonic(), INTERVAL_S))
            if presence.is_due(time.monotonic()):
                await self._call(line)

    async def _call(self, line: ReopeningConnection) -> None:
        sent_at = time.monotonic()
        try:
            body = await line.request(self._beat, self.presence.timeout_s)
        except RequestFailed:
            self.back.clear()
            self.presence.record_failure(time.monotonic(), random.random())
            return
        reply = msgspec.json.decode(body, type=MachineHeartbeatReply)
        wrong = [agent for agent in reply.agents if agent.status != OK]
        if reply.status != OK or wrong:
            raise RuntimeError(f"the beat was answered {reply.status}; wrong agents: {wrong[:3]}")
        self.presence.spread_retries = reply.spread_retries
        notices = self.presence.record_answer(sent_at, reply.status, reply.next_in_s, time.monotonic())
        self.last_beat_at = sent_at
        if RENEW_CLAIM in notices or not self.back.is_set():
            self.back.set()


def claim_encoder(greenroom: RunningServer, seat: JoinedAgent, token: str) -> Callable[[float], bytes]:
    """A function that encodes one agent's claim for a given wait."""

    def encode_claim(wait_s: float) -> bytes:
        body = ClaimBody(role=seat.role, connection_id=seat.connection_id, wait_s=wait_s)
        return encode_request("POST", greenroom.port, f"{API}/rooms/{seat.room}/tasks/claim", token, body)

    return encode_claim
