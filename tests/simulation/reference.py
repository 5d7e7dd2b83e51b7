"""What must be true of presence, written a second time and more simply. Must not use the product's own rules."""

from dataclasses import dataclass, field


@dataclass
class Seat:
    """One role, as the promises describe it."""

    newest: str | None = None
    is_present: bool = False
    closed: set[str] = field(default_factory=set)
    seen_at: float = 0.0
    held_back: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Tasks that were taken over: from whom, and until when nobody may claim them."""

    def verdict(self, connection: str) -> str:
        """What a beat of that connection must be answered."""
        if connection in self.closed:
            return "superseded"
        return "ok" if connection == self.newest and self.is_present else "rejoin_required"

    def join(self, connection: str, now: float) -> str:
        """What a join must be answered, and what it does."""
        if connection in self.closed:
            return "superseded"
        if self.newest is not None and self.newest != connection:
            self.closed.add(self.newest)
        self.newest, self.is_present, self.seen_at = connection, True, now
        return "ok"

    def take_over(self, connection: str, task: str | None, until: float) -> None:
        """What a join does besides, when `task` is what whoever is present holds."""
        if task is not None and self.is_present and self.newest != connection and connection not in self.closed:
            assert self.newest is not None
            self.held_back[task] = (self.newest, until)

    def has_stopped(self, connection: str) -> None:
        """Whose work was taken over says that it has stopped."""
        self.held_back = {task: held for task, held in self.held_back.items() if held[0] != connection}

    def may_claim(self, task: str, now: float) -> bool:
        """Whether the former holder of a task has had its time to stop."""
        return task not in self.held_back or self.held_back[task][1] <= now

    def grace(self, since: float, until: float) -> None:
        """After an absence of the server, `since` when, the time to stop is counted anew."""
        standing = {task: held for task, held in self.held_back.items() if held[1] > since}
        self.held_back = {task: (holder, max(until, ends)) for task, (holder, ends) in standing.items()}

    def leave(self, connection: str) -> None:
        """Only who sits, or may come back, can leave."""
        if connection == self.newest and connection not in self.closed:
            self.closed.add(connection)
            self.is_present = False
