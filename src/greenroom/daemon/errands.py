"""Prepares one run of an agent's command: from a claimed task, or from the record of an earlier daemon."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from greenroom.client.briefing import task_environment
from greenroom.client.errand import Errand
from greenroom.client.plan import Plan
from greenroom.client.session import Session
from greenroom.daemon.premises import Premises
from greenroom.daemon.runs import Run
from greenroom.domain.errors import ConfigurationError
from greenroom.process.environment import child_environment
from greenroom.process.identity import Identity
from greenroom.wire.replies import ClaimedTask

NOT_KEPT = "kept elsewhere"
"""Replaces a task's text and token in the record of a run: the text is in the run's folder, the token in no file."""


def prepare(premises: Premises, run: Run, task: ClaimedTask) -> tuple[Run, Plan]:
    """Resolve how this machine runs a task, and record the run. Raises ConfigurationError if it cannot be run."""
    assert run.wish is not None
    wish = run.wish
    recipe = premises.recipe(wish)
    variables = task_environment(premises.desk.url, wish.room_name, wish.role, task, run.connection_id)
    plan = Plan(
        command=recipe.command,
        cwd=recipe.workdir,
        env=child_environment(premises.environ, {**recipe.env, **variables}),
        then=recipe.then,
        folder=premises.shelf.place(wish.room_name, wish.role, task.id, task.attempt),
        timeout_s=wish.task_timeout_s or recipe.timeout_s,
        result=recipe.result,
    )
    run = msgspec.structs.replace(
        run,
        claimed=msgspec.structs.replace(task, text=NOT_KEPT, token=NOT_KEPT),
        then=plan.then,
        result=plan.result,
        timeout_s=plan.timeout_s,
        began_at=premises.clock.wall(),
        folder=str(plan.folder),
    )
    try:
        premises.book.note(run)
    except OSError as error:
        raise ConfigurationError(f"The run cannot be recorded: {error}.", "Free space on the disk.") from error
    return run, plan


def again(premises: Premises, session: Session, run: Run, on_started: Callable[[Identity], None]) -> Errand:
    """The errand of a run that an earlier daemon started. The plan has no command: it was started already."""
    assert run.claimed is not None
    folder = Path(run.folder)
    plan = Plan(
        command=(),
        cwd=folder,
        env={},
        then=run.then,
        folder=folder,
        timeout_s=run.timeout_s,
        result=run.result,
        began_at=run.began_at,
    )
    return Errand(session, run.claimed, run.connection_id, plan, premises.clock, on_started)
