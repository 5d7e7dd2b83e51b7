"""What can be seen of a fleet from outside at one moment: the API, the event log, the diaries. Judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from tests.acceptance.fleet.diaries import Run

Event = dict[str, Any]
Attempt = tuple[str, int]


class Silence(NamedTuple):
    """A machine that could not be heard from then until then, though nothing had happened to what it runs."""

    machine: str
    began_at: float
    ended_at: float


class Death(NamedTuple):
    """A holder's last sign of life. Who tells of its end frees its task; where nobody does, silence of so long."""

    task: str
    attempt: int
    at: float
    silent_s: float | None = None


class Budget(NamedTuple):
    """What a daemon may spend on restarts, in seconds."""

    ends: int = 1_000
    window_s: float = 300.0


@dataclass(frozen=True)
class Evidence:
    """`tasks` are the API's, by id; `answered` the tasks of all messages whose sender was told that they are taken."""

    events: Sequence[Event]
    tasks: Mapping[str, dict[str, Any]]
    runs: Sequence[Run]
    answered: Sequence[str]
    silences: Sequence[Silence] = ()
    deaths: Sequence[Death] = ()
    budget: Budget = field(default=Budget())

    def of(self, *kinds: str) -> Iterable[Event]:
        return (event for event in self.events if event["type"] in kinds)

    def without(self, is_gone: Callable[[Event], bool]) -> Evidence:
        return replace(self, events=[event for event in self.events if not is_gone(event)])


def attempt_of(event: Event) -> Attempt:
    return event["data"]["task"], event["data"]["attempt"]


def seat_of(event: Event) -> tuple[str, str]:
    return event["stream"], event["data"]["role"]


def seconds(instant: str) -> float:
    """An instant of the API in seconds of the wall clock."""
    return datetime.fromisoformat(instant).timestamp()
