"""Counters of the server, in memory: plain numbers that `metrics` reads when Prometheus asks."""

from collections import Counter


class Counters:
    """Counters of one server. They are changed on the event loop only."""

    def __init__(self) -> None:
        self.agent_beats: Counter[str] = Counter()
        """Heartbeats of agents by verdict."""
        self.machine_beats: Counter[str] = Counter()
        """Heartbeats of machines by verdict."""
        self.agents_in_machine_beats = 0
        self.transitions: Counter[str] = Counter()
        """Committed events by type."""
        self.streams = 0
        """Event streams that are open now."""
        self.long_polls = 0
        """Claims, and waits for assignments, that are open now."""
        self.sweeps = 0
        self.sweep_s = 0.0
        self.sweep_last_s = 0.0
