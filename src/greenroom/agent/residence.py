"""`greenroom wait-for-task` in a resident process, which a daemon keeps present in its role.

The daemon joins, beats and leaves; this command only claims. When it ends, the participant stays. A task that could not
be printed does not have to be released: the next claim of the same connection is answered with it again.
"""

import contextlib
import os
from argparse import Namespace
from collections.abc import Mapping
from typing import TextIO

from greenroom.agent.guide import Guide
from greenroom.agent.handing import Handing
from greenroom.agent.harness import slice_s
from greenroom.agent.interruption import Interrupted, interruptible
from greenroom.client.claiming import StandingClaim
from greenroom.client.session import Session
from greenroom.clock import SystemClock
from greenroom.entropy import SystemEntropy
from greenroom.settings.resolve import Settings

DONE, FAILED, NOTHING_YET, INTERRUPTED = 0, 1, 75, 130


def connection_of(environ: Mapping[str, str], url: str, role: str) -> str | None:
    """Return the connection under which a daemon keeps this process in that role; None if it does not.

    A process that was run for one task is kept in no role.
    """
    values = {name: environ.get(f"GREENROOM_{name}", "") for name in ("URL", "ROLE", "CONNECTION", "TOKEN", "TASK")}
    is_this_role = values["URL"].rstrip("/") == url.rstrip("/") and values["ROLE"] == role
    return values["CONNECTION"] or None if is_this_role and values["TOKEN"] and not values["TASK"] else None


class ResidentWait:
    """One call of the command."""

    def __init__(self, arguments: Namespace, settings: Settings, out: TextIO, err: TextIO, connection_id: str) -> None:
        self._room, self._role = arguments.room, arguments.role
        self._timeout_s = slice_s(os.environ) if arguments.timeout is None else arguments.timeout
        self._connection_id = connection_id
        self._err = err
        self._guide = Guide(settings)
        self._handing = Handing(settings, self._room, self._role, out, arguments.json)
        self._session = Session(settings.url, settings.token, settings.limits)

    def run(self) -> int:
        again = self._guide.wait(self._room, self._role)
        try:
            with interruptible(), contextlib.closing(self._session):
                return self._wait(again)
        except Interrupted as signal:
            self._handing.take_back()
            self._print(f"interrupted by {signal}; next, to wait again: {again}")
            return INTERRUPTED

    def _wait(self, again: str) -> int:
        claim = StandingClaim(
            self._session,
            self._room,
            self._role,
            self._connection_id,
            lambda: True,  # The daemon ensures it. While it cannot, the server refuses the claim; it is retried.
            lambda: None,
            SystemClock(),
            SystemEntropy(),
        )
        self._print(f"waiting as {self._role} in {self._room} ({self._connection_id}, kept by this machine's daemon)")
        task = claim.next_task(self._timeout_s)
        if task is None:
            self._print(f"no task yet; call again to go on waiting: {again}")
            return NOTHING_YET
        try:
            self._handing.keep(task, self._connection_id)
            self._handing.show(task)
        except OSError as error:
            self._handing.take_back()
            self._print(f"error: {task.id} could not be printed ({error}). next, to get it again: {again}")
            self._handing.silence()
            return FAILED
        return DONE

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):
            print(line, file=self._err, flush=True)
