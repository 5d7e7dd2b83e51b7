"""What happened to a role, told in sentences that name the cause. Must not know who recorded it, or how it is shown.

What has no sentence of its own here is told by `story`, as `greenroom watch` tells it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from greenroom.cli.output import clock_time, first_line
from greenroom.cli.story import particulars
from greenroom.domain.event import Event

Names = Mapping[str, str]
"""What people call the machines, by their ids."""
Data = dict[str, Any]

CAUSE_CHARACTERS = 160
SENTENCE_CHARACTERS = 400
NOBODY_SAW = "nobody saw how it ended"


def narrate(events: Iterable[Event], names: Names) -> Iterator[str]:
    """The events of one role in their order, a line for each."""
    machine: str | None = None
    for event in events:
        data = event.data
        if event.type == "role.wished":
            if machine is not None and data.get("machine") != machine:
                data = data | {"moved_from": machine}
            machine = data.get("machine")
        yield f"{clock_time(event.at)}  {tell(event, data, names)}"


def tell(event: Event, data: Data, names: Names) -> str:
    """What happened, with its cause."""
    sentence = SENTENCES.get(event.type)
    cause = because(event)
    if sentence is None:
        said = f"{event.type} {particulars(event)}".strip() + why(cause)
    else:
        said = sentence(data, cause, names)
    return first_line(said, SENTENCE_CHARACTERS)


def because(event: Event) -> str:
    return first_line(event.cause, CAUSE_CHARACTERS)


def wished(data: Data, cause: str, names: Names) -> str:
    """What a person wants of the role from then on; `moved_from` is the machine of the wish before, if another."""
    by = data.get("by") or "somebody"
    said = f"{by} wished it {data.get('desired')}"
    if moved_from := data.get("moved_from"):
        said = f"{by} moved it from machine {named(moved_from, names)}"
    if data.get("machine"):
        said += f" {'to' if moved_from else 'on'} machine {named(data['machine'], names)} with {data.get('harness')}"
    elif data.get("kind") == "custom":
        said += ", run by a person" if not moved_from else " to a person"
    return f"{said} (generation {data.get('generation')})" + why(cause, by)


def why(cause: str, by: str = "") -> str:
    return f": {cause}" if cause and cause != by else ""


def named(machine: str, names: Names) -> str:
    return names.get(machine, machine)


def run_of(data: Data) -> str:
    """Which run: its task and attempt; of a process that stays there is none."""
    return f" for {data['task']} (attempt {data.get('attempt')})" if data.get("task") else ""


def started(data: Data, cause: str, names: Names) -> str:
    return f"its command was started{run_of(data)}"


def exited(data: Data, cause: str, names: Names) -> str:
    """How a run ended: as intended, or not; then until when its role rests. What could not be begun has no task."""
    if data.get("intended"):
        return f"its command ended as intended{run_of(data)}{why(cause, 'exited')}"
    how = cause if cause and cause != "exited" else NOBODY_SAW
    if data.get("signal") is not None and "SIG" not in cause:
        how = f"killed by signal {data['signal']}{why(cause, 'exited')}"
    elif data.get("code") is not None and f"code {data['code']}" not in cause:
        how = f"exit code {data['code']}{why(cause, 'exited')}"
    trial = ", on trial" if data.get("trial") else ""
    rest = f"; it rests until {clock_time(data['until'])}" if data.get("until") else ""
    what = "its command died" if began(data) else "nothing runs there"
    return f"{what}{run_of(data)}{trial}: {how}{rest}"


def began(data: Data) -> bool:
    return any(data.get(sign) is not None for sign in ("task", "code", "signal"))


def parked(data: Data, cause: str, names: Names) -> str:
    trial = ", then it gets one run on trial" if data.get("until") else ""
    return f"parked {until(data)}{trial}{why(cause, 'parked')}"


def unparked(data: Data, cause: str, names: Names) -> str:
    return f"un-parked: it did its task on trial{why(cause, 'unparked')}"


def paused(data: Data, cause: str, names: Names) -> str:
    return f"paused {until(data)}{why(cause, 'paused')}"


def until(data: Data) -> str:
    return f"until {clock_time(data['until'])}" if data.get("until") else "until a person restarts it"


def sat(how: str) -> Callable[[Data, str, Names], str]:
    """A sentence about a sitting: who, on which machine, and why."""

    def sentence(data: Data, cause: str, names: Names) -> str:
        on = f" on machine {named(data['machine'], names)}" if data.get("machine") else ""
        return f"{how}{on}: {data.get('connection_id')} (epoch {data.get('epoch')}){why(cause)}"

    return sentence


def machine(how: str) -> Callable[[Data, str, Names], str]:
    """A sentence about the machine that the role is wished onto. What is recorded of it names the machine by name."""

    def sentence(data: Data, cause: str, names: Names) -> str:
        return f"machine {data.get('name') or ''} {how}".replace("  ", " ") + why(cause)

    return sentence


def worked(how: str) -> Callable[[Data, str, Names], str]:
    """A sentence about one of the role's tasks."""

    def sentence(data: Data, cause: str, names: Names) -> str:
        attempt = f" (attempt {data['attempt']})" if data.get("attempt") else ""
        count = data.get("deaths")
        deaths = f", {count} death{'' if count == 1 else 's'}" if count else ""
        return f"{data.get('task')} {how}{attempt}{deaths}{why(cause)}"

    return sentence


def noted(data: Data, cause: str, names: Names) -> str:
    attempt = f" (attempt {data['attempt']})" if data.get("attempt") else ""
    return f"{cause or 'somebody'} wrote a note on {data.get('task')}{attempt}: {data.get('text')}"


def attention(how: str) -> Callable[[Data, str, Names], str]:
    def sentence(data: Data, cause: str, names: Names) -> str:
        return f"people were told{how}: {data.get('text')}"

    return sentence


def room(how: str) -> Callable[[Data, str, Names], str]:
    return lambda data, cause, names: f"the room was {how}{why(cause)}"


SENTENCES: dict[str, Callable[[Data, str, Names], str]] = {
    "room.created": room("opened"),
    "room.changed": room("changed"),
    "room.closed": room("closed"),
    "role.wished": wished,
    "agent.started": started,
    "agent.exited": exited,
    "agent.parked": parked,
    "agent.unparked": unparked,
    "agent.paused": paused,
    "participant.joined": sat("sat down"),
    "participant.left": sat("got up"),
    "participant.expired": sat("was not heard of any more and was removed"),
    "participant.rejoined": sat("came back"),
    "participant.superseded": sat("was superseded by a newer one"),
    "machine.registered": machine("registered"),
    "machine.disconnected": machine("was not heard of any more"),
    "machine.reconnected": machine("is connected"),
    "machine.cloned": machine("was spoken for by two daemons; the newest counts"),
    "task.opened": worked("was opened"),
    "task.queued": worked("was taken out of the backlog"),
    "task.promoted": worked("may be claimed now"),
    "task.claimed": worked("was claimed"),
    "task.started": worked("was begun"),
    "task.noted": noted,
    "task.progressed": worked("goes on"),
    "task.handed_in": worked("was handed in for a review"),
    "task.completed": worked("was completed"),
    "task.released": worked("was released"),
    "task.resumed": worked("was resumed"),
    "task.late_result": worked("got a late result"),
    "task.quarantined": worked("was put into quarantine"),
    "task.closed": worked("was closed"),
    "task.sent_back": worked("was sent back"),
    "attention.raised": attention(" that it needs them"),
    "attention.resolved": attention(" that it needs them no more"),
}
