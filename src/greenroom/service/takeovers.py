"""Takeover holds: keeps a task that was taken over from being claimed until its former holder has stopped.

A hold ends when that participant leaves, when its exit is reported, when its machine's heartbeat no longer names it, or
after `takeover_grace_s` seconds. A former holder that runs on after that time works beside the new one; its writes are
refused.
"""

from collections.abc import Iterable
from functools import partial

from greenroom.clock import format_instant
from greenroom.domain import takeover
from greenroom.domain.participant import Participant
from greenroom.domain.takeover import TakeoverHold
from greenroom.domain.task import SUPERSEDED, Task
from greenroom.service.context import ServiceContext
from greenroom.service.state.notifications import claim_key
from greenroom.store import participants, tasks
from greenroom.store.transaction import Reader, Transaction
from greenroom.wire.requests import HeldAgent


def hold_task(context: ServiceContext, tx: Transaction, task: Task, older: Participant) -> None:
    """Hold a task that is being taken over, before the commit: a claim may follow in the same batch."""
    hold = takeover.make_hold(task.id, older, tx.now.monotonic, context.limits)
    context.takeover_holds.add(hold)
    tx.on_rollback(partial(context.takeover_holds.remove, hold))


def restore_holds(context: ServiceContext, reader: Reader) -> None:
    """Restore the holds after a restart: every task that was taken over and not claimed since is held again."""
    now = context.clock.monotonic()
    for task in tasks.list_all_pending(reader):
        if task.released_cause == SUPERSEDED and task.last_holder is not None:
            older = participants.get(reader, task.room, task.target_role, task.last_holder)
            if older is not None:
                context.takeover_holds.add(takeover.make_hold(task.id, older, now, context.limits))


def record_stop(
    context: ServiceContext, tx: Transaction, room: str, role: str, connection: str, task: str | None = None
) -> None:
    """After the commit, release the holds for a connection that has stopped.

    `task` limits this to one task, whose run has stopped; None when the connection has stopped as a whole.
    """
    tx.on_commit(lambda: wake_claims(context, context.takeover_holds.release_for(room, role, connection, task)))


def release_dropped(context: ServiceContext, machine: str, held: Iterable[HeldAgent]) -> None:
    """Release the holds for agents that a heartbeat of their machine no longer names."""
    if context.takeover_holds:
        rooms = ((context.room_cache.find(agent.room), agent) for agent in held)
        named = {(room.id, agent.role, agent.connection_id) for room, agent in rooms if room is not None}
        wake_claims(context, context.takeover_holds.release_dropped(machine, named))


def release_due(context: ServiceContext, now: float) -> None:
    """Release the holds whose time is over."""
    wake_claims(context, context.takeover_holds.release_due(now))


def wake_claims(context: ServiceContext, released: Iterable[TakeoverHold]) -> None:
    """Wake the standing claims of the roles whose tasks were released."""
    for hold in released:
        context.notifications.notify(claim_key(hold.room, hold.role))


def describe_hold(context: ServiceContext, room: str, role: str) -> tuple[str | None, str | None]:
    """Why a role's claim waits, as a text for users, and until when at most; (None, None) if no hold is the reason."""
    hold = context.takeover_holds.get_longest(room, role)
    if hold is None:
        return None, None
    until = format_instant(context.clock.wall() + hold.until - context.clock.monotonic())
    return f"its task was taken over from {hold.connection}, whose run is being stopped", until
