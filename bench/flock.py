"""Hundreds of simulated daemons in one process: they beat, poll for assignments and keep one claim for each agent.

The product's own rules decide when each of them sends what (`domain.presence`, `domain.standing`); the code that sends
it over a socket is kept small, because the server is to be measured.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import msgspec

from bench.connection import Caller, spell_request
from bench.house import House
from bench.seating import API, Seat, spell_machine_beat
from greenroom.domain.presence import RENEW_CLAIM, presence_of_daemon
from greenroom.domain.reliability import DEFAULTS
from greenroom.domain.sitting import OK
from greenroom.domain.standing import Standing, standing_for
from greenroom.wire.replies import MachineHeartbeatReply, Wishes
from greenroom.wire.requests import Claim

INTERVAL_S: Final = DEFAULTS.daemon_heartbeat_interval_s
ANSWERED: Final = (200, 204)


class Unanswered(Exception):
    """A request had no answer, none in time, or one with a status other than 200 and 204."""


class Line:
    """One keep-alive connection, reopened after any failure. The time of every request is appended to `sent`."""

    def __init__(self, port: int, sent: list[float]) -> None:
        self._port = port
        self._sent = sent
        self._caller: Caller | None = None

    async def ask(self, request: bytes, timeout_s: float) -> bytes:
        """Send a request; the body of its answer. Raises `Unanswered`."""
        try:
            async with asyncio.timeout(timeout_s):
                caller, self._caller = self._caller, None
                if caller is None or caller.is_lost:
                    caller = await Caller.connect(self._port)
                self._sent.append(time.monotonic())
                status, body = await caller.ask(request)
        except (OSError, TimeoutError) as error:
            raise Unanswered(str(error)) from error
        if status not in ANSWERED:
            caller.close()
            raise Unanswered(f"{status}: {body[:200]!r}")
        self._caller = caller
        return body


class Call:
    """A long-poll call, repeated for ever. `stands_since`: when the present one was sent; None after a failure."""

    def __init__(self, daemon: "Daemon", standing: Standing, encode: Callable[[float], bytes], is_gated: bool) -> None:
        self.stands_since: float | None = None
        self.body = b""
        self._daemon, self._standing, self._encode, self._is_gated = daemon, standing, encode, is_gated
        self._line = daemon.line()

    async def run(self) -> None:
        """Send the call again and again; a claim first waits until its machine is back."""
        presence, was_away = self._daemon.presence, False
        while True:
            if self._is_gated and not presence.is_present():
                was_away = True
                await self._daemon.back.wait()
            elif was_away and presence.is_crowded:
                was_away = False
                await asyncio.sleep(self._standing.returned_in_crowd(random.random()))
            else:
                was_away = False
                await self._ask()

    async def _ask(self) -> None:
        wait_s = self._standing.wait_s(random.random())
        self.stands_since = time.monotonic()
        try:
            self.body = await self._line.ask(self._encode(wait_s), wait_s + self._daemon.presence.timeout_s)
        except Unanswered:
            self.stands_since = None
            await asyncio.sleep(self._standing.failed(self._daemon.presence.is_crowded, random.random()))
        else:
            self._standing.answered()


class Daemon:
    """One machine: its beats, its poll for assignments, and a claim for each of its agents."""

    def __init__(self, greenroom: House, name: str, seats: list[Seat], sent: list[float]) -> None:
        self.presence = presence_of_daemon(DEFAULTS)
        self.back = asyncio.Event()
        self.beaten_at: float | None = None
        self._greenroom, self._sent = greenroom, sent
        self._beat = spell_machine_beat(greenroom, name, seats)
        waits, token, version = standing_for(DEFAULTS, INTERVAL_S), seats[0].token, 0

        def encode_poll(wait_s: float) -> bytes:
            nonlocal version
            if self.watch.body:
                version = msgspec.json.decode(self.watch.body, type=Wishes).version
            path = f"{API}/machines/{name}/wishes?after={version}&wait_s={wait_s:.3f}"
            return spell_request("GET", greenroom.port, path, token, None)

        self.watch = Call(self, msgspec.structs.replace(waits), encode_poll, is_gated=False)
        self.claims = [
            Call(self, msgspec.structs.replace(waits), claim_of(greenroom, seat, token), is_gated=True)
            for seat in seats
        ]

    def line(self) -> Line:
        return Line(self._greenroom.port, self._sent)

    def calls(self) -> list[Call]:
        return [self.watch, *self.claims]

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Beat for ever; the long-poll calls start after the first beat."""
        await asyncio.sleep(random.random() * INTERVAL_S)
        line, presence = self.line(), self.presence
        await self._call(line)
        for call in self.calls():
            tasks.create_task(call.run())
        while True:
            await asyncio.sleep(presence.wait_s(time.monotonic(), INTERVAL_S))
            if presence.is_due(time.monotonic()):
                await self._call(line)

    async def _call(self, line: Line) -> None:
        sent_at = time.monotonic()
        try:
            body = await line.ask(self._beat, self.presence.timeout_s)
        except Unanswered:
            self.back.clear()
            self.presence.failed(time.monotonic(), random.random())
            return
        reply = msgspec.json.decode(body, type=MachineHeartbeatReply)
        wrong = [agent for agent in reply.agents if agent.status != OK]
        if reply.status != OK or wrong:
            raise RuntimeError(f"the beat was answered {reply.status}; wrong agents: {wrong[:3]}")
        self.presence.is_crowded = reply.crowded
        notices = self.presence.answered(sent_at, reply.status, reply.next_in_s, time.monotonic())
        self.beaten_at = sent_at
        if RENEW_CLAIM in notices or not self.back.is_set():
            self.back.set()


def claim_of(greenroom: House, seat: Seat, token: str) -> Callable[[float], bytes]:
    """A function that encodes one agent's claim for a given wait."""

    def encode_claim(wait_s: float) -> bytes:
        body = Claim(role=seat.role, connection_id=seat.connection_id, wait_s=wait_s)
        return spell_request("POST", greenroom.port, f"{API}/rooms/{seat.room}/tasks/claim", token, body)

    return encode_claim
