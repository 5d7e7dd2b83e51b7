"""What can be observed of a fleet from outside at one moment: the API, the event log, the diaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from tests.process.fleet.diaries import AgentRun

Event = dict[str, Any]
Attempt = tuple[str, int]


class Silence(NamedTuple):
    """A span of time in which a machine could not reach the server, while its runs were undisturbed."""

    machine: str
    began_at: float
    ended_at: float


class HolderFailure(NamedTuple):
    """A failure of a task's holder at `at`. The report of its exit releases the task; or a silence of `silent_s`."""

    task: str
    attempt: int
    at: float
    silent_s: float | None = None


class RestartBudget(NamedTuple):
    """How many failures (`failures_max`) a daemon restarts within `window_s` seconds."""

    failures_max: int = 1_000
    window_s: float = 300.0


@dataclass(frozen=True)
class Observation:
    """`tasks` are the API's, by id; `answered` are the tasks of all messages that were answered with success."""

    events: Sequence[Event]
    tasks: Mapping[str, dict[str, Any]]
    runs: Sequence[AgentRun]
    answered: Sequence[str]
    silences: Sequence[Silence] = ()
    failures: Sequence[HolderFailure] = ()
    budget: RestartBudget = field(default=RestartBudget())

    def of(self, *kinds: str) -> Iterable[Event]:
        return (event for event in self.events if event["type"] in kinds)

    def without(self, is_gone: Callable[[Event], bool]) -> Observation:
        return replace(self, events=[event for event in self.events if not is_gone(event)])


def attempt_of(event: Event) -> Attempt:
    return event["data"]["task"], event["data"]["attempt"]


def role_of(event: Event) -> tuple[str, str]:
    return event["stream"], event["data"]["role"]


def seconds(instant: str) -> float:
    """An instant of the API in seconds of the wall clock."""
    return datetime.fromisoformat(instant).timestamp()
