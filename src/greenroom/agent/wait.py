"""`greenroom wait-for-task`: joins a role, waits for one task, prints it and exits.

The task is the agent's once its claim file is written and its text is printed; any exit before that releases it.
"""

import contextlib
import os
from argparse import Namespace
from typing import TextIO

from greenroom.agent import claim_file, sitting_file
from greenroom.agent.guide import Guide
from greenroom.agent.handing import Handing
from greenroom.agent.harness import slice_s
from greenroom.agent.interruption import Interrupted, interruptible
from greenroom.agent.residence import ResidentWait, connection_of
from greenroom.agent.seat import Seat, sit_down
from greenroom.client.session import Session
from greenroom.clock import SystemClock
from greenroom.domain.errors import ConfigurationError, GreenroomError, Unavailable
from greenroom.domain.ids import check_name, is_name
from greenroom.entropy import SystemEntropy
from greenroom.settings import paths
from greenroom.settings.resolve import Settings
from greenroom.wire.replies import ClaimedTask

DONE, FAILED, NOTHING_YET, INTERRUPTED = 0, 1, 75, 130


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Wait for the next task of `arguments.role` in `arguments.room` and print it; return the exit code."""
    check_name("role", arguments.role)
    if not is_name(arguments.room):  # a room's id is no valid new name, but it identifies a room
        check_name("room", arguments.room)
    kept_as = connection_of(os.environ, settings.url, arguments.role)
    if kept_as is not None:
        return ResidentWait(arguments, settings, out, err, kept_as).run()
    return Wait(arguments, settings, out, err).run()


class Wait:
    """One call of the command."""

    def __init__(self, arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> None:
        self._room, self._role = arguments.room, arguments.role
        self._take_over = arguments.take_over
        self._timeout_s = slice_s(os.environ) if arguments.timeout is None else arguments.timeout
        self._settings, self._err = settings, err
        self._handing = Handing(settings, self._room, self._role, out, arguments.json)
        self._guide = Guide(settings)
        self._clock, self._entropy = SystemClock(), SystemEntropy()
        self._folder = paths.sittings(settings.data_dir, settings.url, self._room, self._role)
        self._seat: Seat | None = None

    def run(self) -> int:
        try:
            with interruptible():
                return self._wait()
        except Interrupted as signal:
            self._give_up(f"interrupted by {signal}")
            self._print(f"interrupted; next, to wait again: {self._guide.wait(self._room, self._role)}")
            return INTERRUPTED
        except GreenroomError as error:
            self._end_participation(isinstance(error, Unavailable))
            raise
        except OSError as error:
            # Without its files the next call could neither continue the participant nor act for its task.
            self._give_up(f"its agent's files cannot be written: {error}")
            raise ConfigurationError(
                f"The files of {self._role} cannot be written: {error}.",
                "Free space there or make it writable, or choose another folder with --data-dir. Then run it again: "
                f"{self._guide.wait(self._room, self._role)}",
            ) from error

    def _wait(self) -> int:
        kept_since = self._clock.wall() - self._settings.limits.attempt_token_kept_s
        claim_file.forget_old(self._settings.data_dir, self._settings.url, self._room, self._role, kept_since)
        for deserted in sitting_file.deserted(self._folder):
            self._leave_for(deserted)
        carried = sitting_file.take_up(self._folder, kept_since)
        if carried is not None:
            sitting_file.note(self._folder, carried, sitting_file.WAITING)
        seat = sit_down(self._make_seat, carried, self._take_over, self._entropy)
        self._print(f"waiting as {self._role} in {self._room} ({seat.connection_id})")
        sitting_file.note(self._folder, seat.connection_id, sitting_file.WAITING)
        task = seat.next_task(self._timeout_s)
        if task is None:
            seat.rise()
            sitting_file.note(self._folder, seat.connection_id, sitting_file.PAUSED)
            self._print(f"no task yet; call again to go on waiting: {self._guide.wait(self._room, self._role)}")
            return NOTHING_YET
        return self._deliver(seat, task)

    def _deliver(self, seat: Seat, task: ClaimedTask) -> int:
        """Give the task to the agent: first what its later commands need, then the text."""
        try:
            self._handing.keep(task, seat.connection_id)
            sitting_file.note(self._folder, seat.connection_id, sitting_file.HANDED)
            self._handing.show(task)
        except OSError as error:
            self._give_up(f"the task could not be handed to its agent: {error}")
            self._print(
                f"error: {task.id} could not be printed ({error}); it was released, and waits for {self._role}. "
                f"next, to get it again: {self._guide.wait(self._room, self._role)}"
            )
            self._handing.silence()
            return FAILED
        seat.rise()
        return DONE

    def _make_seat(self, connection_id: str, if_vacant: bool) -> Seat:
        self._end_participation(False)  # The previous participant, which the server has closed.
        self._seat = Seat(
            self._connect,
            self._room,
            self._role,
            connection_id,
            self._print,
            self._clock,
            self._entropy,
            if_vacant=if_vacant,
            hand_over=True,
        )
        return self._seat

    def _end_participation(self, is_unsure: bool) -> None:
        """Stop the participant; keep its file for the next call only if the server may have it and did not answer."""
        if self._seat is not None:
            self._seat.rise()
            sitting_file.remove(self._folder, self._seat.connection_id)
            if is_unsure:
                with contextlib.suppress(OSError):
                    sitting_file.note(self._folder, self._seat.connection_id, sitting_file.PAUSED)

    def _leave_for(self, deserted: str) -> None:
        """Leave for a process that was killed while it waited on this computer.

        Until its lease expires its participant would block the role. A later participant is not affected.
        """
        session = self._connect()
        try:
            session.leave(self._room, self._role, deserted, reason="its process was killed while it waited")
        except Unavailable:
            return  # the next call tries again
        except GreenroomError:
            pass  # the server has no such participant any more
        finally:
            session.close()
        sitting_file.remove(self._folder, deserted)

    def _connect(self) -> Session:
        return Session(self._settings.url, self._settings.token, self._settings.limits)

    def _give_up(self, reason: str) -> None:
        """Leave, and remove what was stored for later commands."""
        self._handing.take_back()
        if self._seat is not None:
            sitting_file.remove(self._folder, self._seat.connection_id)
            if not self._seat.leave(reason=reason):
                ttl_s = self._settings.limits.heartbeat_ttl_s
                self._print(f"note: the server could not be reached; {self._role} stays present for up to {ttl_s:g} s.")

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # Without a reader of this output the heartbeat thread must go on.
            print(line, file=self._err, flush=True)
