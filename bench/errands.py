"""One agent of one room over HTTP, as a coroutine: open a task, claim it, complete it. Must not know what is timed."""

from contextlib import closing
from typing import TypeVar

import msgspec

from bench.connection import Caller, spell_request
from bench.house import House
from bench.seating import API, expect
from greenroom.domain.task import Task
from greenroom.wire.replies import ClaimedTask, MessageReply
from greenroom.wire.requests import Claim, Complete, CreateRoom, SendMessage

ROLE = "builder"

Shape = TypeVar("Shape")


class Errand:
    """A room of its own, an agent who sits in it, and a connection for each of the two who speak: people and agent."""

    def __init__(self, house: House, name: str, *, is_new: bool = True) -> None:
        """The room is made, and the agent joins it, unless that was done before."""
        self._room = name
        self._port = house.port
        self._operator = house.token
        self._connection_id = f"conn_{name}"
        with closing(house.session()) as operator:
            if is_new:
                operator.create_room(CreateRoom(name=name, roles=[ROLE]))
            self._token = operator.room_token(name, ROLE).token
        if is_new:
            with closing(house.session(self._token)) as agent:
                expect(agent.join(name, ROLE, self._connection_id).status, name)

    async def connect(self) -> None:
        self._people, self._agent = await Caller.connect(self._port), await Caller.connect(self._port)

    def close(self) -> None:
        self._people.close()
        self._agent.close()

    async def open(self) -> Task:
        """Send a message, which opens a task."""
        path, body = f"{API}/rooms/{self._room}/messages", SendMessage(sender="user", text="Tidy up the third shelf.")
        request = spell_request("POST", self._port, path, self._operator, body)
        task = read(await self._people.ask(request), 201, MessageReply).task
        assert task is not None
        return task

    async def claim(self, wait_s: float) -> ClaimedTask:
        """Take the next task, waiting for it."""
        body = Claim(role=ROLE, connection_id=self._connection_id, wait_s=wait_s)
        request = spell_request("POST", self._port, f"{API}/rooms/{self._room}/tasks/claim", self._token, body)
        return read(await self._agent.ask(request), 200, ClaimedTask)

    async def complete(self, task: ClaimedTask) -> None:
        """Hand the result to the user, with the token of the attempt."""
        body = Complete(connection_id=self._connection_id, attempt=task.attempt, text="It is tidy.")
        request = spell_request("POST", self._port, f"{API}/tasks/{task.id}/complete", task.token, body)
        done = read(await self._agent.ask(request), 200, Task)
        if done.status != "completed":
            raise RuntimeError(f"task {task.id} is {done.status} after it was completed")


def read(answer: tuple[int, bytes], expected: int, shape: type[Shape]) -> Shape:
    """What an answer says. Any other status ends the benchmark."""
    status, body = answer
    if status != expected:
        raise RuntimeError(f"expected {expected}, was told {status}: {body[:500]!r}")
    return msgspec.json.decode(body, type=shape)
