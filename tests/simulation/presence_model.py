"""A reference model of presence: the promised behaviour in simple code, which uses none of the product's rules."""

from dataclasses import dataclass, field


@dataclass
class RoleModel:
    """The presence that is promised for one role."""

    newest: str | None = None
    is_present: bool = False
    closed: set[str] = field(default_factory=set)
    seen_at: float = 0.0
    takeover_holds: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Tasks that were taken over: the former holder, and until when they cannot be claimed."""

    def verdict(self, connection: str) -> str:
        """The verdict that a heartbeat of this connection must get."""
        if connection in self.closed:
            return "superseded"
        return "ok" if connection == self.newest and self.is_present else "rejoin_required"

    def record_join(self, connection: str, now: float) -> str:
        """Record a join. Returns the status that it must get."""
        if connection in self.closed:
            return "superseded"
        if self.newest is not None and self.newest != connection:
            self.closed.add(self.newest)
        self.newest, self.is_present, self.seen_at = connection, True, now
        return "ok"

    def record_takeover(self, connection: str, task: str | None, until: float) -> None:
        """Record a takeover by a join, where `task` is the task that the present connection holds, if any."""
        if task is not None and self.is_present and self.newest != connection and connection not in self.closed:
            assert self.newest is not None
            self.takeover_holds[task] = (self.newest, until)

    def record_stop(self, connection: str) -> None:
        """Record that a former holder has stopped, which releases the tasks that were taken over from it."""
        self.takeover_holds = {task: hold for task, hold in self.takeover_holds.items() if hold[0] != connection}

    def can_claim(self, task: str, now: float) -> bool:
        """Whether the former holder's time to stop has passed."""
        return task not in self.takeover_holds or self.takeover_holds[task][1] <= now

    def extend_takeovers(self, since: float, until: float) -> None:
        """Extend the time to stop to `until` where it was still running at `since`, when the server stalled."""
        running = {task: hold for task, hold in self.takeover_holds.items() if hold[1] > since}
        self.takeover_holds = {task: (holder, max(until, until_now)) for task, (holder, until_now) in running.items()}

    def record_leave(self, connection: str) -> None:
        """Record a leave, which has an effect only for the newest connection if it is not closed."""
        if connection == self.newest and connection not in self.closed:
            self.closed.add(connection)
            self.is_present = False
