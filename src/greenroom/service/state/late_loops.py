"""Keeps the server's loops that are late, and their alerts. In memory only."""

from dataclasses import dataclass, field

from greenroom.domain.alert import Alert
from greenroom.service.state.thread_rules import LoopOnly


@dataclass
class LateLoops(LoopOnly):
    """`first_seen`: when each loop was first found late, in monotonic seconds; `recorded`: those whose alert is stored.

    `is_recording`: a transaction that records them is under way.
    """

    first_seen: dict[str, float] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
    recorded: set[str] = field(default_factory=set)
    is_recording: bool = False
