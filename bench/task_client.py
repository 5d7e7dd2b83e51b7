"""One room with one agent over HTTP, as coroutines: open a task, claim it, complete it."""

from contextlib import closing
from typing import TypeVar

import msgspec

from bench.connection import AsyncConnection, encode_request
from bench.joined_agents import API, expect_ok
from bench.server_process import RunningServer
from greenroom.domain.task import Task
from greenroom.wire.replies import ClaimedTask, MessageReply
from greenroom.wire.requests import ClaimBody, Complete, CreateRoom, SendMessage

ROLE = "builder"

Shape = TypeVar("Shape")


class TaskClient:
    """A room of its own, an agent that has joined it, and one connection each for the user and the agent."""

    def __init__(self, greenroom: RunningServer, name: str, *, is_new: bool = True) -> None:
        """Create the room and join the agent; with `is_new=False` both exist already."""
        self._room = name
        self._port = greenroom.port
        self._operator = greenroom.token
        self._connection_id = f"conn_{name}"
        with closing(greenroom.session()) as operator:
            if is_new:
                operator.create_room(CreateRoom(name=name, roles=[ROLE]))
            self._token = operator.room_token(name, ROLE).token
        if is_new:
            with closing(greenroom.session(self._token)) as agent:
                expect_ok(agent.join(name, ROLE, self._connection_id).status, name)

    async def connect(self) -> None:
        self._user, self._agent = await AsyncConnection.connect(self._port), await AsyncConnection.connect(self._port)

    def close(self) -> None:
        self._user.close()
        self._agent.close()

    async def open_task(self) -> Task:
        """Send a message, which opens a task."""
        path, body = f"{API}/rooms/{self._room}/messages", SendMessage(sender="user", text="Tidy up the third shelf.")
        request = encode_request("POST", self._port, path, self._operator, body)
        task = decode_answer(await self._user.request(request), 201, MessageReply).task
        assert task is not None
        return task

    async def claim(self, wait_s: float) -> ClaimedTask:
        """Claim the next task, waiting up to `wait_s` for it."""
        body = ClaimBody(role=ROLE, connection_id=self._connection_id, wait_s=wait_s)
        request = encode_request("POST", self._port, f"{API}/rooms/{self._room}/tasks/claim", self._token, body)
        return decode_answer(await self._agent.request(request), 200, ClaimedTask)

    async def complete(self, task: ClaimedTask) -> None:
        """Complete the task, with the token of its attempt."""
        body = Complete(connection_id=self._connection_id, attempt=task.attempt, text="It is tidy.")
        request = encode_request("POST", self._port, f"{API}/tasks/{task.id}/complete", task.token, body)
        done = decode_answer(await self._agent.request(request), 200, Task)
        if done.status != "completed":
            raise RuntimeError(f"task {task.id} is {done.status} after it was completed")


def decode_answer(answer: tuple[int, bytes], expected: int, shape: type[Shape]) -> Shape:
    """Decode an answer; a status other than `expected` raises `RuntimeError` and ends the benchmark."""
    status, body = answer
    if status != expected:
        raise RuntimeError(f"expected status {expected}, got {status}: {body[:500]!r}")
    return msgspec.json.decode(body, type=shape)
