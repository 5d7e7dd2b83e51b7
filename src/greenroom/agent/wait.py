"""`greenroom wait-for-task`: joins a role, waits for one task, prints it and exits.

The task is the agent's once its claim file is written and its text is printed; any exit before that releases it.
A session that holds a task of the role already, and has lost its context, is given that task again.

In a resident process a daemon joins, beats and leaves; there the command only claims, and the participant stays when
the command ends. A task that could not be printed does not have to be released: the next claim of the same connection
is answered with it again.
"""

import contextlib
import os
from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import TextIO

from greenroom.agent import claim_file, connection_file
from greenroom.agent.former_folders import move_former_folders
from greenroom.agent.host_limits import default_wait_s
from greenroom.agent.instructions import Instructions, TaskDelivery, print_line
from greenroom.agent.interrupts import Interrupted, interruptible
from greenroom.agent.participation import Participation, join_role
from greenroom.client.api_client import ApiClient
from greenroom.client.claim_loop import ClaimLoop
from greenroom.clock import SystemClock
from greenroom.domain.errors import ConfigurationError, Conflict, GreenroomError, Unavailable
from greenroom.domain.ids import check_name, is_name
from greenroom.domain.participant import SUPERSEDED
from greenroom.entropy import SystemEntropy
from greenroom.exit_codes import ExitCode
from greenroom.process.agent_session import find_session
from greenroom.settings.resolve import Settings
from greenroom.settings.server_address import without_secrets
from greenroom.wire.replies import ClaimedTask


def run(arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> int:
    """Wait for the next task of `arguments.role` in `arguments.room` and print it; return the exit code."""
    check_name("role", arguments.role)
    if not is_name(arguments.room):  # a room's id is no valid new name, but it identifies a room
        check_name("room", arguments.room)
    move_former_folders(settings)
    kept_as = resident_connection(os.environ, settings.url, arguments.role)
    if kept_as is not None:
        return ResidentWait(arguments, settings, out, err, kept_as).run()
    return WaitCommand(arguments, settings, out, err).run()


class WaitCommand:
    """One call of the command."""

    def __init__(self, arguments: Namespace, settings: Settings, out: TextIO, err: TextIO) -> None:
        self._room, self._role = arguments.room, arguments.role
        self._take_over = arguments.take_over
        self._timeout_s = default_wait_s(os.environ) if arguments.timeout is None else arguments.timeout
        self._settings = settings
        self._print = partial(print_line, err)
        self._session = find_session(os.environ)
        self._handing = TaskDelivery(settings, self._room, self._role, out, arguments.json, self._session)
        self._guide = Instructions(settings)
        self._clock, self._entropy = SystemClock(), SystemEntropy()
        self._folder = connection_file.folder_of(settings.data_dir, settings.url, self._room, self._role)
        self._participation: Participation | None = None

    def run(self) -> int:
        try:
            with interruptible():
                return self._wait()
        except Interrupted as signal:
            self._give_up(f"interrupted by {signal}")
            self._print(f"interrupted; next, to wait again: {self._guide.wait_command(self._room, self._role)}")
            return ExitCode.INTERRUPTED
        except GreenroomError as error:
            self._end_participation(isinstance(error, Unavailable))
            raise
        except OSError as error:
            # Without its files the next call could neither continue the participant nor act for its task.
            self._give_up(f"its agent's files cannot be written: {error}")
            raise ConfigurationError(
                f"The files of {self._role} cannot be written: {error}.",
                "Free space there or make it writable, or choose another folder with --data-dir. Then run it again: "
                f"{self._guide.wait_command(self._room, self._role)}",
            ) from error
        except Exception as error:
            self._give_up(f"it failed: {error!r}")
            raise

    def _wait(self) -> int:
        kept_since = self._clock.wall() - self._settings.limits.attempt_token_grace_s
        claim_file.remove_expired(self._settings.data_dir, self._settings.url, self._room, self._role, kept_since)
        holder = None if self._take_over else connection_file.find_holder(self._folder, self._session)
        held = None if holder is None else self._claim_again(holder)
        if holder is not None and held is not None:
            return self._deliver_again(holder, held)
        for deserted in connection_file.find_deserted(self._folder):
            self._leave_for(deserted)
        carried = connection_file.take_reusable(self._folder, kept_since)
        if carried is not None:
            self._record_state(carried, connection_file.WAITING)
        participation = join_role(self._make_seat, carried, self._take_over, self._entropy)
        self._print(f"waiting as {self._role} in {self._room} ({participation.connection_id})")
        self._record_state(participation.connection_id, connection_file.WAITING)
        task = participation.next_task(self._timeout_s)
        if task is None:
            participation.pause()
            self._record_state(participation.connection_id, connection_file.PAUSED)
            self._print(f"no task yet; call again to go on waiting: {self._guide.wait_command(self._room, self._role)}")
            return ExitCode.NOTHING_YET
        return self._deliver(participation, task)

    def _deliver(self, participation: Participation, task: ClaimedTask) -> int:
        """Give the task to the agent: first what its later commands need, then the text."""
        try:
            self._handing.store_claim(task, participation.connection_id)
            self._record_state(participation.connection_id, connection_file.TASK_PRINTED)
            self._handing.print_task(task)
        except (OSError, ValueError) as error:  # ValueError: the text cannot be encoded, or the output is closed
            self._give_up(f"the task could not be handed to its agent: {error}")
            self._print(
                f"error: {task.id} could not be printed ({error}); it was released, and waits for {self._role}. "
                f"next, to get it again: {self._guide.wait_command(self._room, self._role)}"
            )
            self._handing.discard_output()
            return ExitCode.FAILED
        participation.stop()
        return ExitCode.DONE

    def _claim_again(self, holder: str) -> ClaimedTask | None:
        """Return the task that this session's participant holds; None if it holds none any more.

        The participant sends no heartbeats here: while it holds a task, its calls about that task keep it present.
        """
        session = self._connect().with_patience(self._settings.limits.first_contact_s)
        with contextlib.closing(session), contextlib.suppress(Conflict):
            reply = session.join(self._room, self._role, holder, if_vacant=True)
            if reply.status == SUPERSEDED:
                connection_file.remove(self._folder, holder)
            elif reply.task is not None:
                return session.claim(self._room, self._role, holder, 0.0, True)
            else:
                connection_file.record_finish(self._folder, holder)  # its task is over: the wait continues it
        return None

    def _deliver_again(self, holder: str, task: ClaimedTask) -> int:
        """Print a task that the session holds already. If that fails, the session keeps it, and can get it again."""
        try:
            self._handing.store_claim(task, holder)
            self._record_state(holder, connection_file.TASK_PRINTED)
            self._print(f"note: this session holds {task.id} (attempt {task.attempt}) already; it is printed again.")
            self._handing.print_task(task)
        except OSError as error:
            self._print(
                f"error: {task.id} could not be printed ({error}). "
                f"next, to get it again: {self._guide.wait_command(self._room, self._role)}"
            )
            self._handing.discard_output()
            return ExitCode.FAILED
        return ExitCode.DONE

    def _record_state(self, connection_id: str, state: str) -> None:
        connection_file.record_state(self._folder, connection_id, state, self._session)

    def _make_seat(self, connection_id: str, if_vacant: bool) -> Participation:
        self._end_participation(False)  # The previous participant, which the server has closed.
        self._participation = Participation(
            self._connect,
            self._room,
            self._role,
            connection_id,
            self._print,
            self._clock,
            self._entropy,
            if_vacant=if_vacant,
            detached=True,
        )
        return self._participation

    def _end_participation(self, is_unsure: bool) -> None:
        """Stop the participant; keep its file for the next call only if the server may have it and did not answer."""
        if self._participation is not None:
            self._participation.stop()
            connection_file.remove(self._folder, self._participation.connection_id)
            if is_unsure:
                with contextlib.suppress(OSError):
                    self._record_state(self._participation.connection_id, connection_file.PAUSED)

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
        connection_file.remove(self._folder, deserted)

    def _connect(self) -> ApiClient:
        return ApiClient(self._settings.url, self._settings.token, self._settings.limits)

    def _give_up(self, reason: str) -> None:
        """Leave, and remove what was stored for later commands."""
        self._handing.remove_claim()
        if self._participation is not None:
            connection_file.remove(self._folder, self._participation.connection_id)
            if not self._participation.leave(reason=reason):
                ttl_s = self._settings.limits.heartbeat_ttl_s
                self._print(f"note: the server could not be reached; {self._role} stays present for up to {ttl_s:g} s.")


def resident_connection(environ: Mapping[str, str], url: str, role: str) -> str | None:
    """Return the connection under which a daemon keeps this process in that role; None if it does not.

    A process that was run for one task is kept in no role.
    """
    values = {name: environ.get(f"GREENROOM_{name}", "") for name in ("URL", "ROLE", "CONNECTION", "TOKEN", "TASK")}
    is_this_role = without_secrets(values["URL"]) == without_secrets(url) and values["ROLE"] == role
    return values["CONNECTION"] or None if is_this_role and values["TOKEN"] and not values["TASK"] else None


class ResidentWait:
    """One call of the command in a resident process, which a daemon keeps present in its role."""

    def __init__(self, arguments: Namespace, settings: Settings, out: TextIO, err: TextIO, connection_id: str) -> None:
        self._room, self._role = arguments.room, arguments.role
        self._timeout_s = default_wait_s(os.environ) if arguments.timeout is None else arguments.timeout
        self._connection_id = connection_id
        self._print = partial(print_line, err)
        self._guide = Instructions(settings)
        self._handing = TaskDelivery(settings, self._room, self._role, out, arguments.json, find_session(os.environ))
        self._session = ApiClient(settings.url, settings.token, settings.limits)

    def run(self) -> int:
        again = self._guide.wait_command(self._room, self._role)
        try:
            with interruptible(), contextlib.closing(self._session):
                return self._wait(again)
        except Interrupted as signal:
            self._handing.remove_claim()
            self._print(f"interrupted by {signal}; next, to wait again: {again}")
            return ExitCode.INTERRUPTED

    def _wait(self, again: str) -> int:
        claim = ClaimLoop(
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
            return ExitCode.NOTHING_YET
        try:
            self._handing.store_claim(task, self._connection_id)
            self._handing.print_task(task)
        except (OSError, ValueError) as error:  # ValueError: the text cannot be encoded, or the output is closed
            self._handing.remove_claim()
            self._print(f"error: {task.id} could not be printed ({error}). next, to get it again: {again}")
            self._handing.discard_output()
            return ExitCode.FAILED
        return ExitCode.DONE
