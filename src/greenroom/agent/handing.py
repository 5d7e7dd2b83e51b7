"""Gives a claimed task to its agent: stores what later commands need, then prints the task."""

import os
import sys
from typing import TextIO

import msgspec

from greenroom.agent import claim_file
from greenroom.agent.claim_file import Claim
from greenroom.agent.guide import Guide
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import ClaimedTask


class Handing:
    """One task given to the agent that called. `room` is written as the agent wrote it."""

    def __init__(self, settings: Settings, room: str, role: str, out: TextIO, is_json: bool) -> None:
        self._settings = settings
        self._room, self._role = room, role
        self._out = out
        self._is_json = is_json
        self._guide = Guide(settings)
        self._claim: Claim | None = None

    def keep(self, task: ClaimedTask, connection_id: str) -> None:
        """Store what later commands need to act for the task. Raises OSError."""
        self._claim = Claim(
            url=self._settings.url,
            room=self._room,
            role=self._role,
            task=task.id,
            attempt=task.attempt,
            connection_id=connection_id,
            token=task.token,
            notes_seen=len(task.notes),
        )
        claim_file.write(self._settings.data_dir, self._claim)

    def show(self, task: ClaimedTask) -> None:
        """Print the task and the commands to use. Raises OSError."""
        assert self._claim is not None, "`keep` is called before `show`"
        self._out.write(self._format(task, self._claim))
        self._out.flush()

    def take_back(self) -> None:
        """Remove what `keep` stored, so that no later command acts for the task."""
        if self._claim is not None:
            claim_file.remove(self._settings.data_dir, self._claim)

    def silence(self) -> None:
        """Discard further output, which has no reader: Python's flush at exit would print another error."""
        if self._out is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())

    def _format(self, task: ClaimedTask, claim: Claim) -> str:
        if not self._is_json:
            return self._guide.show(task, claim)
        fields = {name: value for name, value in msgspec.structs.asdict(task).items() if name != "token"}
        document = {
            "task": fields,
            "connection_id": claim.connection_id,
            "next": {**self._guide.at_work(claim), "wait-for-task": self._guide.wait(claim.room, claim.role)},
        }
        return msgspec.json.encode(document).decode() + "\n"
