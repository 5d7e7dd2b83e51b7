"""What the server counts while it works: plain numbers that cost nothing to raise. Must not know how they are shown."""

from collections import Counter


class Tally:
    """Raised on the event loop only."""

    def __init__(self) -> None:
        self.agent_beats: Counter[str] = Counter()
        """Beats of agents by verdict."""
        self.machine_beats: Counter[str] = Counter()
        """Beats of machines by verdict."""
        self.agents_in_machine_beats = 0
        self.transitions: Counter[str] = Counter()
        """Committed events by type."""
        self.streams = 0
        """Readers of event streams that are connected now."""
        self.waits = 0
        """Standing claims and waits for wishes now."""
        self.sweeps = 0
        self.sweep_s = 0.0
        self.sweep_last_s = 0.0
